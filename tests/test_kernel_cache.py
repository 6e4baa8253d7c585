"""Compiled code is found again exactly where what it was compiled from is the same."""

from __future__ import annotations

import ast
import io
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracescope.kernels import cache

KERNELS = cache.PACKAGE / "kernels"

# The role of a client span that calls a database: which number that is stands in the schema.
ROLE = """
import numpy as np
from tracescope.kernels import roles
from tracescope.schema import CLASS_DB, KIND_CLIENT, MSG_NONE

codes = [np.full(1, code, np.int8) for code in (KIND_CLIENT, CLASS_DB, MSG_NONE)]
begin = np.zeros(2, np.int32)
role, _, _ = roles.find_roles(
    np.full(1, -1, np.int32), begin, *codes, np.zeros(1, np.int32), np.zeros(1, np.int64)
)
found = roles.find_roles.stats
print(role[0], sum(found.cache_hits.values()), sum(found.cache_misses.values()))
"""


# A kernel that is there, then one that is not and calls it.
CALLED = """
import numba
import numpy as np
from numba.core.registry import cpu_target
from tracescope.kernels import tally

rows, sums = np.arange(8).reshape(2, 4), np.ones((2, 1), np.int64)
distinct, _, _ = tally.tally(rows, sums)
(loaded,) = tally.tally.overloads.values()
read = loaded.library._shared_module is not None
tables = len(cpu_target.target_context._registries)

@numba.njit
def twice(rows, sums):
    return tally.tally(np.concatenate((rows, rows)), np.concatenate((sums, sums)))[1]

print(read, tables, len(distinct), twice(rows, sums).tolist(), loaded.library._shared_module is not None)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package's kernels and of what they import, in a folder of its own."""
    return _copy(tmp_path / "first")


def _copy(folder: Path) -> Path:
    copy = folder / "tracescope"
    shutil.copytree(KERNELS, copy / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "version.py", "schema.py", "errors.py"):
        shutil.copy(cache.PACKAGE / name, copy / name)
    return copy


def _run(package: Path, root: Path | str, program: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"},
        "PYTHONPATH": str(package.parent),
        "XDG_CACHE_HOME": str(root),
    }
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", program],
        env=environment, cwd=package.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip


def _role(package: Path, root: Path) -> list[int]:
    return [int(number) for number in _run(package, root, ROLE).stdout.split()]


def test_every_import_of_a_kernel_is_in_its_key() -> None:
    """What Python's own parser finds imported is what the key is made of."""
    for source in sorted(KERNELS.rglob("*.py")):
        module = ".".join(source.relative_to(cache.PACKAGE.parent).with_suffix("").parts)
        module = module.removesuffix(".__init__")
        assert set(_modules(source)) <= cache.compiled_in(module), module


def _modules(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module or "", *(f"{node.module}.{name.name}" for name in node.names)]
        elif isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        else:
            continue
        for name in names:
            path = cache.PACKAGE.parent.joinpath(*name.split("."))
            if name.startswith("tracescope") and (path.with_suffix(".py").exists() or path.is_dir()):
                yield name


def test_a_changed_constant_of_another_module_is_never_answered_from_the_cache(package, tmp_path) -> None:
    """An enum of the schema is frozen into the code: another number needs other code, and gets it."""
    root = tmp_path / "cache"
    first = _role(package, root)
    assert first[1:] == [0, 1]
    assert _role(package, root) == [first[0], 1, 0]
    schema = package / "schema.py"
    text = schema.read_text()
    schema.write_text(
        text.replace("CLASS_NONE, CLASS_DB, CLASS_MESSAGING,", "CLASS_NONE, CLASS_MESSAGING, CLASS_DB,")
    )
    assert schema.read_text() != text
    assert _role(package, root) == [first[0], 0, 1]


def test_equal_sources_share_their_code_wherever_they_are(package, tmp_path) -> None:
    """No path and no file's time is part of the key."""
    root = tmp_path / "cache"
    role, _, _ = _role(package, root)
    other = _copy(tmp_path / "elsewhere" / "deeper")
    for source in other.rglob("*.py"):
        os.utime(source, (1, 1))
    assert _role(other, root) == [role, 1, 0]


def test_an_edit_leaves_the_code_of_modules_alone_that_do_not_import_it(package, tmp_path) -> None:
    """Units are not part of the decoder, and octets are; the forest is made of units."""
    keys = (
        "from tracescope.kernels.cache import digest\n"
        "print(*(digest(f'tracescope.kernels.{name}') for name in ('wire', 'forest', 'roles')))"
    )
    wire, forest, roles = _run(package, tmp_path, keys).stdout.split()
    with (package / "kernels" / "units.py").open("a") as units:
        units.write("\n# An edit.\n")
    after = _run(package, tmp_path, keys).stdout.split()
    assert after[0] == wire
    assert after[1] != forest
    assert after[2] == roles
    with (package / "kernels" / "octets.py").open("a") as octets:
        octets.write("\n# An edit.\n")
    assert _run(package, tmp_path, keys).stdout.split()[0] != wire


def test_without_a_cache_everything_runs_and_one_warning_says_so(package, tmp_path) -> None:
    """A root that is a file, as one that cannot be written, costs time and a line, not the answer."""
    root = tmp_path / "taken"
    root.write_text("a file")
    more = "\nfrom tracescope.kernels import traces\ntraces.mix(np.uint64(1), np.uint64(2))"
    done = _run(package, root, ROLE + more)
    assert done.stdout.split()[1:] == ["0", "1"]
    assert done.stderr.count("no kernel cache") == 1


def test_code_that_is_there_is_run_without_the_compilers_tables_and_can_be_compiled_into_more(
    package, tmp_path
) -> None:
    """What a process never needs that compiles nothing is read when other code is compiled that calls it."""
    _run(package, tmp_path / "cache", CALLED)  # which compiles
    done = _run(package, tmp_path / "cache", CALLED)
    assert done.stdout == "False 0 2 [[2], [2]] True\n"


def test_code_that_was_cut_off_is_compiled_again(package, tmp_path) -> None:
    """After a lost machine a file may be empty: it is a miss, and replaced."""
    root = tmp_path / "cache"
    role, _, _ = _role(package, root)
    for kind in ("*.nbi", "*.nbc"):
        for path in root.rglob(kind):
            path.write_bytes(path.read_bytes()[:7])
        assert _role(package, root) == [role, 0, 1]
        assert _role(package, root) == [role, 1, 0]


def test_code_of_former_sources_is_removed_when_it_is_long_unused(tmp_path) -> None:
    """What was used this month stays, as does what is not ours."""
    root = tmp_path / "tracescope" / "kernels"
    names = ("wire-0123456789ab", "wire-ba9876543210", "notes", "../kernels-0123456789ab")
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "scan-1.py311.1.nbc").write_bytes(b"code")
    long_ago = time.time() - (cache.UNUSED_DAYS + 1) * 86_400
    for name in ("wire-0123456789ab", "notes", "../kernels-0123456789ab"):
        os.utime(root / name, (long_ago, long_ago))
    cache.prune(root)
    assert [(root / name).exists() for name in names] == [False, True, True, False]


def test_a_terminal_is_told_what_a_first_run_waits_for(monkeypatch) -> None:
    """One line, and the other processor compiles what comes last; a pipe and a log file get neither."""
    from tracescope import cli

    started: list[list[str]] = []
    told = io.StringIO()
    monkeypatch.setattr(cli.subprocess, "Popen", lambda command, **_: started.append(command))
    monkeypatch.setattr(cli.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(sys, "stderr", told)
    handler = cli.Compiling()
    line = logging.LogRecord("tracescope.kernels.cache", logging.WARNING, "", 0, "compiling%s", ("",), None)
    handler.emit(line)
    assert told.getvalue() == ""
    monkeypatch.setattr(told, "isatty", lambda: True)
    handler.emit(line)
    assert told.getvalue() == "tracescope: compiling\n"
    assert started == [[sys.executable, "-P", "-m", "tracescope.kernels.ship"]]


def test_what_answers_from_rollups_loads_no_compiler() -> None:
    """It costs a fifth of a second, and sealed hours need no kernel."""
    modules = [
        "tracescope.session",
        "tracescope.analysis.diff",
        "tracescope.analysis.explain",
        "tracescope.report.text",
    ]
    program = f"import sys, {', '.join(modules)}; print('numba' in sys.modules, 'polars' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False True\n"
