"""Tasks run by Apache Spark: for stores that one machine does not seal in time.

    driver    range(n) ─► mapInArrow(task of that number) ─► collect: n packed results

Spark carries numbers there and results back, a few MB for a million spans; workers read and write the store's
files themselves, so its folder has to lie at the same path on all of them.  Which machines, how much memory
and how often a task is tried is Spark's configuration and the user's.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import socket
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from tracescope.engine.slices import Room
from tracescope.engine.tasks import Done, Task, unpack
from tracescope.errors import StoreError, UsageError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row, SparkSession

#: Tasks for each that runs at once, so that a slow one holds up little; and tasks of a small cluster.
_WAVES: Final = 4
_LEAST_TOGETHER: Final = 16
#: Where a session says nothing of its size.
_SLOTS: Final = 16
_MASTER: Final = re.compile(r"local(\[.+\])?|local-cluster\[.+\]|spark://.+|yarn|k8s://.+|sc://.+")
#: Whoever starts this program may have said which master; then nothing is added to it.
_SAID: Final = ("PYSPARK_GATEWAY_PORT", "SPARK_HOME", "SPARK_CONF_DIR", "SPARK_REMOTE", "MASTER")
#: What the user's configuration may change: a page for nobody, and bars in the midst of what is printed.
_DEFAULTS: Final = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}
_RAISED: Final = re.compile(r"^(?:[\w.]+\.)?(\w+(?:Error|Exception)): (.*)$", re.MULTILINE)
_LACKING: Final = re.compile(r"No module named '(\w+)")
_INSTALL: Final = "pip install 'tracescope[spark]'"


@contextmanager
def session(master: str | None, conf: Mapping[str, str], workers: int) -> Generator[SparkSession]:
    """The session that there is, or a new one, which ends with the block.

    Parameters
    ----------
    master, conf
        As Spark takes them.  Without a master it is that of ``spark-submit`` or of Spark's own configuration;
        where there is none either, `workers` of this machine, which try a task four times.

    Raises
    ------
    UsageError
        There is no pyspark or no Java, or no such master.
    """
    lacking = [name for name in ("pyspark", "pandas", "pyarrow") if find_spec(name) is None]
    if lacking:
        raise UsageError(f"the engine spark needs {lacking[0]}, which is not installed", _INSTALL)
    with _without_pandas():
        from pyspark.sql import SparkSession

    running = SparkSession.getActiveSession()
    if running is not None and master is None:
        yield running
        return
    if master is None and not any(name in os.environ for name in _SAID):
        master = f"local[{workers},4]"
    _check_master(master)
    if not (master or "").startswith("sc://") and "PYSPARK_GATEWAY_PORT" not in os.environ:
        _check_java()
    if (master or "").startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")  # else it listens beyond this machine
    made = _started(master, conf)
    try:
        yield made
    finally:
        made.stop()


def _check_master(master: str | None) -> None:
    """Refuse what is no master, and one that nobody answers for: Spark would try for minutes."""
    if master is None:
        return
    if _MASTER.fullmatch(master) is None:
        raise UsageError(
            f"{master!r} is no Spark master",
            "such as local[2,4], spark://host:7077, yarn, k8s://https://host:443",
        )
    if not master.startswith("spark://"):
        return
    for place in master.removeprefix("spark://").split(","):
        host, _, port = place.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except (OSError, ValueError, OverflowError):
            continue
        return
    raise UsageError(f"no Spark master answers at {master}", "start it, or name another with --master")


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java", path=f"{home}/bin" if home else None) is None:
        where = f"in JAVA_HOME={home}" if home else "on the PATH, and JAVA_HOME is not set"
        raise UsageError(f"Spark needs Java 17 or later; there is none {where}", "install a Java runtime")


def _started(master: str | None, conf: Mapping[str, str]) -> SparkSession:
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    builder: Any = SparkSession.builder.appName("tracescope")
    defaults = _DEFAULTS
    if master is not None and master.startswith("sc://"):
        builder, defaults = builder.remote(master), {}  # its server has decided
    elif master is not None:
        builder = builder.master(master)
    for name, value in {**defaults, **conf}.items():
        builder = builder.config(name, value)
    try:
        with _without_pandas():
            made: SparkSession = builder.getOrCreate()
    except (PySparkException, *java_errors(), ValueError, OSError) as error:
        raise UsageError(f"Spark does not start: {said(error)}", "its own messages above say more") from error
    return made


def java_errors() -> tuple[type[Exception], ...]:
    """What Spark raises beside its own exceptions; nothing where it is only a client."""
    try:
        from py4j.protocol import Py4JError
    except ImportError:
        return ()
    return (Py4JError,)


def said(error: Exception) -> str:
    """The line of an error that says what happened."""
    found = _RAISED.findall(str(error))
    return ": ".join(found[-1]) if found else (str(error).splitlines() or [type(error).__name__])[0]


class Spark:
    """The executors of a session.

    Parameters
    ----------
    running
        The session.
    """

    inside = False

    def __init__(self, running: SparkSession) -> None:
        self._session = running
        self.workers = _slots(running)
        self.together = max(_LEAST_TOGETHER, _WAVES * self.workers)

    def room(self, memory_bytes: int) -> Room:
        """Each of them may use so much."""
        return Room(self.workers, memory_bytes * (self.workers + 1))

    def run(self, tasks: Sequence[Task]) -> Iterator[Done]:
        """Run tasks, each a partition of one job; Spark tries again what fails, as its configuration says.

        Raises
        ------
        UsageError
            The executors have no tracescope.
        StoreError
            A task failed as often as Spark tries.
        """
        numbers = self._session.range(0, len(tasks), 1, len(tasks))
        rows = mapped(numbers, _runner([pickle.dumps(task) for task in tasks]), "number long, done binary")
        packed = {row["number"]: bytes(row["done"]) for row in rows}
        for number in range(len(tasks)):
            yield unpack(packed.pop(number))


def _slots(running: SparkSession) -> int:
    from pyspark.errors import PySparkException

    try:
        return max(1, int(running.sparkContext.defaultParallelism))
    except PySparkException:  # a client knows no context
        return _SLOTS


def mapped(rows: DataFrame, work: Callable[[Iterable[Any]], Iterator[Any]], columns: str) -> list[Row]:
    """Rows that executors make of others, in batches of Arrow.

    Raises
    ------
    UsageError, StoreError
        As `failure` has it.
    """
    from pyspark.errors import PySparkException

    with _without_pandas():
        try:
            return rows.mapInArrow(work, columns).collect()
        except (PySparkException, *java_errors()) as error:
            raise failure(error) from error


@contextmanager
def _without_pandas() -> Generator[None]:
    """Let Spark not warn of a newer pandas than it knows: it wants to see one, and nothing uses it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
        yield


def failure(error: Exception) -> UsageError | StoreError:
    """What to say of a job that failed."""
    line = said(error)
    if lacking := _LACKING.search(str(error)):
        return UsageError(
            f"the Spark executors have no {lacking[1]}", "install the same on all of them; examples/spark"
        )
    hint = "nothing is sealed; the store's folder has to lie at the same path on every executor"
    return StoreError(f"a task failed on Spark: {line}", hint)


def _runner(tasks: Sequence[bytes]) -> Callable[[Iterable[Any]], Iterator[Any]]:
    """What executors run; it takes its modules from where it runs."""

    def run(batches: Iterable[Any]) -> Iterator[Any]:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]

        from tracescope.engine.worker import run_packed

        for batch in batches:
            numbers = batch.column(0).to_pylist()
            done = [run_packed(tasks[number]) for number in numbers]
            columns = [pa.array(numbers, pa.int64()), pa.array(done, pa.binary())]
            yield pa.RecordBatch.from_arrays(columns, names=["number", "done"])

    return run
