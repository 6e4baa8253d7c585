"""What must be there before anything starts: programs, packages, free ports; each with what fixes it."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from stage.errors import StageError
from stage.plan import PORTS, Plan, collector_program, postgres_folder, rabbitmq_program

MODULES = (
    "aio_pika", "asyncpg", "httpx", "redis", "starlette", "uvicorn",
    *(f"opentelemetry.instrumentation.{name}" for name in ("aio_pika", "asyncpg", "httpx", "redis")),
    "opentelemetry.instrumentation.starlette", "uvloop", "httptools",
    "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
)  # fmt: skip


def check(plan: Plan) -> None:
    """Say all that is missing at once.

    Raises
    ------
    StageError
        Something is; its hint has a command for each.
    """
    problems = [*missing(), *_taken(plan), *_folder(plan)]
    if problems:
        lines = [f"  {what}\n      {how}" for what, how in problems]
        raise StageError("nothing was started:\n" + "\n".join(lines))


def missing() -> Iterator[tuple[str, str]]:
    """Programs and packages that are not installed, and the commands that install them."""
    absent = [name for name in MODULES if not _importable(name)]
    if absent:
        yield (
            f"Python packages are missing: {', '.join(absent)}",
            "python -m pip install -r examples/growing-shop/requirements.txt -c requirements.lock",
        )
    if postgres_folder() is None:
        yield "there is no PostgreSQL", "apt-get install -y postgresql"
    if rabbitmq_program() is None or shutil.which("epmd") is None:
        yield "there is no RabbitMQ", "apt-get install -y rabbitmq-server"
    for program, what, package in (
        ("redis-server", "Redis", "redis-server"),
        ("cpulimit", "cpulimit, which starves a service,", "cpulimit"),
        ("openssl", "openssl, which makes a certificate,", "openssl"),
    ):
        if shutil.which(program) is None:
            yield f"there is no {what}".rstrip(","), f"apt-get install -y {package}"
    collector = collector_program()
    if not os.access(collector, os.X_OK):
        yield f"there is no OpenTelemetry Collector at {collector}", "collector-config/build.sh"
    if os.geteuid() == 0:
        for name, package in (("postgres", "postgresql"), ("rabbitmq", "rabbitmq-server")):
            try:
                pwd.getpwnam(name)
            except KeyError:
                yield (
                    f"there is no user {name}, and {package} is not run as root",
                    f"useradd --system {name}",
                )


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _taken(plan: Plan) -> Iterator[tuple[str, str]]:
    for name in PORTS:
        port = plan.port(name)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                other = owner(port)
                who = f" by process {other}" if other else ""
                stop = f"kill {other.split()[0]}, or " if other else ""
                yield (
                    f"port {port}, wanted for {name}, is taken{who} ({error.strerror})",
                    f"{stop}choose others: run.py --ports-from {plan.first_port + 100}",
                )


def owner(port: int) -> str | None:
    """Process that listens on a port of IPv4, as far as this user may see: its id and name."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(link) in inodes for link in (process / "fd").iterdir()):
                return f"{process.name} ({(process / 'comm').read_text().strip()})"
        except OSError:
            continue  # ended meanwhile, or another user's
    return None


def _folder(plan: Plan) -> Iterator[tuple[str, str]]:
    """The folder is ours, or not there yet: nothing else is ever removed."""
    folder = plan.folder
    if folder.exists() and any(folder.iterdir()) and not (folder / "growing-shop").exists():
        yield f"{folder} holds files that are not a run's", "choose another folder: run.py --run FOLDER"
    if os.geteuid() == 0:
        for parent in folder.parents:
            if parent.exists() and not parent.stat().st_mode & stat.S_IXOTH:
                yield (
                    f"{parent} is closed to the users that PostgreSQL and RabbitMQ run as",
                    "choose a folder that they reach: run.py --run /tmp/growing-shop",
                )
