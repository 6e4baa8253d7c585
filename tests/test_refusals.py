"""What is refused is told with its value and what to do next, and costs nothing that was there."""

from __future__ import annotations

import ast
import asyncio
import errno
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from polars.exceptions import ComputeError
from stores import request, seal_at, spans
from unprivileged import run_all

from tracescope import config, errors
from tracescope.cli import main
from tracescope.errors import (
    ConfigError,
    StoreError,
    TracescopeError,
    UsageError,
    in_words,
    refused,
    sentence,
    translated,
)
from tracescope.serving.listen import bind
from tracescope.serving.runtime import refuse_exposed
from tracescope.store import modes, open_store

TRACES = "A web GET 10:59:59 +2s\n  A orders list 11:00:00 +1s"
#: What no option means, each of another kind.
VALUES = (
    "",
    "x",
    "-1",
    "nan",
    "1e400",
    "9" * 25,
    "\u2603\U0001f600",
    "a\nb",
    "\x1b[31m",
    "y" * 70_000,
    "[",
    "--",
)
#: Words of a library or of Python, which say nothing to whoever typed the command.
FOREIGN = re.compile(r"Traceback|\b[A-Z]\w+Error\b|\[Errno|os error|object at 0x|NoneType|<class|float range")


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the shell that runs the tests."""
    for name in [name for name in os.environ if name.startswith("TRACESCOPE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def commands(group: click.Group, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below a group, and the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if isinstance(found, click.Group):
            yield from commands(found, *names, name)
        elif found is not None:
            yield (*names, name), found


def bad_calls(name: tuple[str, ...], command: click.Command, place: Path) -> Iterator[list[str]]:
    """Calls of one command, one of which has each option with some of `VALUES`; the store is at `place`."""
    takes_store = any("--store" in each.opts for each in command.params)
    store = ["--store", str(place)] if takes_store else []
    needed = [str(place) for each in command.params if isinstance(each, click.Argument) and each.required]
    yield [*name, "--nope", *needed, *store]
    yield [*name, *needed, *"abcdef", *store]
    for number, each in enumerate(command.params):
        if isinstance(each, click.Argument):
            yield [*name, *store, "--", VALUES[number % len(VALUES)]]
        elif isinstance(each, click.Option) and each.is_flag:
            yield [*name, f"{each.opts[0]}=x", *needed, *store]
        elif "--store" not in each.opts:
            for at in range(3):
                yield [*name, f"{each.opts[-1]}={VALUES[(3 * number + at) % len(VALUES)]}", *needed, *store]


@pytest.mark.parametrize("name", [name for name, _ in commands(main)], ids=" ".join)
def test_every_option_refuses_what_it_cannot_mean(name: tuple[str, ...], tmp_path: Path) -> None:
    """No traceback; an exit code of the manual's; a sentence that somebody reads, and what to do next."""
    place = (
        tmp_path / "number.json"
    )  # a file where a store is wanted: nothing that would serve or compute begins
    place.write_text("17")
    command = dict(commands(main))[name]
    for call in bad_calls(name, command, place):
        result = run(*call)
        assert result.exception is None or isinstance(result.exception, SystemExit), (call, result.exception)
        assert result.exit_code in (0, 1, 2, 4), call
        if result.exit_code:
            said = result.stderr
            assert not FOREIGN.search(said), (call, said)
            assert "\n  " in said or "\nTry '" in said, (call, said)
            assert len(said) < 4000, call
            assert "\x1b" not in said
    assert place.read_text() == "17"


def test_every_error_is_raised_with_what_to_do_next() -> None:
    """All but those of settings, which get theirs with their place, of gates and of our own tables."""
    kinds = {*errors.__all__} - {"GateFailedError", "KernelError", "MalformedOtlpError"}
    package = Path(errors.__file__).parent
    bare = [
        f"{path.relative_to(package)}:{node.lineno}"
        for path in sorted(package.rglob("*.py"))
        if path.name not in ("config.py", "schema.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds
        if len(node.args) < 2 + (node.func.id == "OverloadedError")
        if not any(isinstance(one, ast.Starred) for one in node.args)
        if not any(one.arg == "hint" for one in node.keywords)
    ]
    assert not bare, bare


# -- settings --


@pytest.mark.parametrize("field", fields(config.Settings), ids=lambda field: field.name)
def test_a_setting_of_another_type_is_told_with_what_to_do(field: Any) -> None:
    """With its name and a hint; a value that the caller gives has no place."""
    for value in (17j, object()):
        with pytest.raises(ConfigError, match=f"^{field.name} ") as failure:
            config.load({field.name: value})
        assert failure.value.hint, value
    if str(field.type) == "int":
        with pytest.raises(ConfigError, match=f"{field.name} is 9+; it must be at most"):
            config.load({field.name: 10**23 - 1})


def test_where_no_home_is_known_a_store_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """HOME unset, and no such user: what has a name works, what has none says which to give."""

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name)
    assert config.load({"store": "here"})[0].store == "here"
    result = run("status")
    assert result.exit_code == 2
    assert "HOME is not set" in result.stderr
    assert "--store" in result.stderr
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert config.load()[0].store == "/data/tracescope/store"


# -- words --


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (OSError(errno.ENOSPC, "x", "/a/b"), "/a/b: x", "`df /a`"),
        (OSError(errno.EROFS, "x", "/a/b"), "/a/b: x", "another file system"),
        (OSError(errno.EMFILE, "x"), "x", "ulimit -n"),
        (OSError(errno.EIO, "x", b"/a"), "/a: x", "tracescope verify"),
        (
            FileNotFoundError(errno.ENOENT, "x", "/etc/nothing/there"),
            "/etc/nothing/there: x",
            "/etc is there",
        ),
        (PermissionError("Permission denied (os error 13): /a"), "/a: Permission denied", "let this user"),
        (ComputeError("parquet: No space left on device (os error 28)"), "No space left on device", "df"),
        (ComputeError("no such column\nResolved plan: ..."), "no such column", "verify"),
        (MemoryError(), "there is not enough memory", "--memory-mb"),
        (UsageError("ours", "as it is"), "ours", "as it is"),
    ],
    ids=str,
)
def test_an_error_of_the_system_is_told_with_its_path_and_what_to_do(
    error: Exception, message: str, hint: str
) -> None:
    """Whichever library met it, in whatever words."""
    found = translated(error)
    assert found is not None
    assert found.message == message
    assert hint in (found.hint or "")
    assert sentence(error) == str(found)


def test_a_fault_of_ours_is_not_told_as_one_of_the_users() -> None:
    """It stays a fault, with its class for whoever looks for it."""
    assert translated(ValueError("x")) is None
    assert sentence(ValueError("x")) == "ValueError: x"
    assert in_words(RecursionError("maximum recursion depth exceeded")) == "it is nested too deeply"


def test_what_could_not_be_looked_at_is_not_damaged() -> None:
    """Rights, room and open files say nothing of a file; a disk's own error and a missing file do."""
    assert all(refused(OSError(number, "x")) for number in (errno.EACCES, errno.EMFILE, errno.ENOSPC))
    assert refused(PermissionError("Permission denied (os error 13): /x"))
    assert not any(refused(OSError(number, "x")) for number in (errno.EIO, errno.ENOENT, errno.EISDIR))
    assert not refused(ValueError("x"))


def test_a_long_value_does_not_fill_the_screen() -> None:
    """Its front and its end are told, and how much is left out."""
    error = TracescopeError("no period '" + "x" * 70_000 + "'")
    assert len(error.message) < 2000
    assert error.message.startswith("no period 'xxx")
    assert error.message.endswith("x'")
    assert "68212 characters" in error.message


# -- files --


def test_an_answer_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no file can be made nothing is computed for it; a full disk keeps the former file."""
    for output in ("", tmp_path / "no" / "a", tmp_path, f"{__file__}/x"):
        result = run("diff", "-o", output, "--store", tmp_path / "none")
        assert result.exit_code == 2, result.output
    from tracescope.cli import shell

    kept = tmp_path / "answer.json"
    kept.write_text("the former one")
    kept.chmod(0o640)
    shell.write(b"new", str(kept))
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == ("new", 0o640)
    link = tmp_path / "link"
    link.symlink_to(kept)
    shell.write(b"newer", str(link))
    assert (kept.read_text(), link.is_symlink()) == ("newer", True)
    with pytest.raises(OSError, match="/dev/full"):
        shell.write(b"new", "/dev/full")
    monkeypatch.setattr(Path, "write_bytes", _full)
    with pytest.raises(OSError, match=re.escape(str(kept))):
        shell.write(b"newest", str(kept))
    assert kept.read_text() == "newer"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answer.json", "link"]


def _full(path: Path, data: bytes) -> int:
    path.touch()
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_of_the_store_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    """A write's own error has no name, polars has its own words; what is no such error stays itself."""
    part, whole = tmp_path / ".part", tmp_path / "whole"
    for error in (OSError(errno.ENOSPC, "x"), ComputeError("parquet: x (os error 28)")):
        part.touch()
        with pytest.raises(OSError, match="No space") as failure, modes.writing(part, whole):
            raise error
        assert (failure.value.errno, failure.value.filename) == (errno.ENOSPC, str(whole))
        assert not part.exists()
    with pytest.raises(ComputeError), modes.writing(part):
        raise ComputeError("no such column")


def test_a_store_whose_making_was_cut_short_is_made_again(tmp_path: Path) -> None:
    """At any point, as by a full disk; but a folder of somebody else's files is never taken for one."""
    made = tmp_path / "made"
    open_store(made, create=True)
    for left in (["FORMAT.json"], ["FORMAT.json", "sealed"], ["FORMAT.json", "CURRENT.json", "staging"]):
        for name in left:
            path = made / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        (made / ".FORMAT.json.17.4").touch()
        assert open_store(made, create=True).snapshot().pending().collect().is_empty()
    (made / "FORMAT.json").unlink()
    for other in ("notes.txt", ".git/config", "landing/notes.txt"):
        (made / other).parent.mkdir(exist_ok=True)
        (made / other).touch()
        with pytest.raises(StoreError, match="is not empty and holds no store"):
            open_store(made, create=True)
        (made / other).unlink()
        shutil.rmtree(made / ".git", ignore_errors=True)


# -- addresses --


@pytest.mark.parametrize(
    "address", ["", ":4317", "[::1", "a b:1", "x", "unix:/x", "127.0.0.1:65536", "h:" + "9" * 5000]
)
def test_an_address_that_is_none_is_refused_as_such(address: str) -> None:
    """Before anything is said of who may reach it."""
    with pytest.raises(ConfigError, match="expected HOST:PORT") as failure:
        refuse_exposed(config.Settings(grpc=address), None)  # pyright: ignore[reportArgumentType] - it gets no so far
    assert "127.0.0.1:4317" in (failure.value.hint or "")


def test_why_an_address_cannot_be_had_is_told() -> None:
    """Taken, another machine's, or of a host that nobody knows."""
    with bind("127.0.0.1:0", "--http") as taken:
        port = taken.getsockname()[1]
        for address, why in (
            (f"127.0.0.1:{port}", "another program listens there"),
            ("192.0.2.1:4317", "it is no address of this machine"),
        ):
            with pytest.raises(ConfigError, match=why):
                bind(address, "--grpc")


# -- rights --


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two spans, landed."""
    seal_at(tmp_path / "store", spans(TRACES), sealed=False)
    (tmp_path / "more.pb").write_bytes(request(TRACES.replace("A ", "B ")).SerializeToString())
    return tmp_path / "store"


def _set(folder: Path, directories: int, files: int) -> None:
    for path in [*folder.rglob("*"), folder]:
        path.chmod(directories if path.is_dir() else files)


def _all_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "seal.lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_store_that_is_only_read_answers_and_says_why_it_does_not_change(
    store: Path, tmp_path: Path
) -> None:
    """Readers write nothing; what would write names the place, whose it is, and what to do."""
    before = _all_of(store)
    _set(store, 0o500, 0o400)
    reading = (["status"], ["graph", "all"], ["path", "01"], ["verify"])
    writing = (
        ["import", tmp_path / "more.pb"], ["seal", "--open-hours"], ["mark", "x", "2026-09-30"],
        ["serve", "--grpc", "127.0.0.1:0", "--http", "off", "--web", "off"],
    )  # fmt: skip
    said = run_all([[*call, "--store", store] for call in (*reading, *writing)], tmp_path)
    _set(store, 0o700, 0o600)
    assert [code for code, _, _ in said[: len(reading)]] == [0] * len(reading)
    for code, out, err in said[len(reading) :]:
        assert (code, out) == (1, "")
        assert f"{store}" in err
        assert "has mode 0500: `chmod u+rwX" in err or "has mode 0400: `chmod u+rwX" in err
        assert not FOREIGN.search(err)
    assert _all_of(store) == before


def test_the_folder_that_refuses_is_named_and_not_the_file_in_it(store: Path, tmp_path: Path) -> None:
    """A file that may be written, in a folder where none may be made in its place."""
    store.chmod(0o500)
    said = run_all([["mark", "x", "2026-09-30", "--store", store]], tmp_path)
    store.chmod(0o700)
    assert said[0][0] == 1
    assert f"{store} has mode 0500: `chmod u+rwX {store}`" in said[0][2]


def test_a_repair_leaves_what_it_may_not_read(store: Path, tmp_path: Path) -> None:
    """It is whole: it is neither set aside nor written anew, and no span counts as lost."""
    before, hidden, calls = _all_of(store), dict[Path, int](), []
    for part in (
        "CURRENT.json",
        "FORMAT.json",
        "landing",
        "sealed",
        "landing/*/*/*.parquet",
        "landing/*/*/*.json",
    ):
        copy = shutil.copytree(store, tmp_path / str(len(calls)))
        path = next(copy.glob(part))
        hidden[path] = path.stat().st_mode
        path.chmod(0)
        calls.append(["verify", "--repair", "--store", copy])
    said = run_all(calls, tmp_path)
    for number, ((path, mode), (code, _, err)) in enumerate(zip(hidden.items(), said, strict=True)):
        path.chmod(mode)
        assert code == 1
        assert "Permission denied" in err
        assert str(path) in err
        assert _all_of(tmp_path / str(number)) == before


def test_traces_that_may_not_be_read_are_told_and_never_left_out(store: Path, tmp_path: Path) -> None:
    """A file, a folder, one below a folder, behind a glob, as a URL: nothing is imported without them."""
    folder = tmp_path / "traces"
    (folder / "below").mkdir(parents=True)
    shutil.copy(tmp_path / "more.pb", folder / "a.pb")
    shutil.copy(tmp_path / "more.pb", folder / "below" / "b.pb")
    (folder / "below").chmod(0)
    names = [
        folder,
        folder / "below",
        folder / "below" / "b.pb",
        folder / "below" / "*.pb",
        f"file://{folder}",
    ]
    said = run_all([["import", name, "--store", store] for name in names], tmp_path)
    (folder / "below").chmod(0o700)
    for code, _, err in said:
        assert code == 1
        assert "Permission denied" in err
        assert "below" in err
        assert "copy it again" not in err
    assert len(open_store(store).snapshot().pending().collect()) == 2


def test_settings_that_may_not_be_read_are_told(store: Path, tmp_path: Path) -> None:
    """They could say anything: going on without them would be a guess."""
    secret = tmp_path / "tracescope.toml"
    secret.write_text("top = 3")
    secret.chmod(0)
    (said,) = run_all([["status", "--store", store]], tmp_path)
    assert said[0] == 2
    assert "tracescope.toml cannot be read: Permission denied" in said[2]
    assert "let this user read it" in said[2]
    secret.unlink()
    secret.mkdir()
    result = run("status", "--store", store)
    assert result.exit_code == 2
    assert "tracescope.toml cannot be read: Is a directory" in result.stderr


# -- tools of an agent --


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("diff", {"base": 7}, "base is 7: input should be a valid string: diff takes base, head"),
        ("diff", {"top": "x"}, "top is 'x': input should be a valid integer"),
        ("diff", {"haed": "all"}, "no argument 'haed': diff takes base, head"),
        ("trace", {}, "trace_id is missing: trace takes trace_id"),
        ("quality", {"x" * 500: 1}, "no argument 'xxx"),
    ],
    ids=str,
)
def test_an_argument_that_a_tool_does_not_take_is_told(
    name: str, given: dict[str, Any], words: str, store: Path
) -> None:
    """None is passed over as if it had not been given; what is wrong is told without a library's address."""
    from mcp.server.mcpserver.exceptions import ToolError

    from tracescope.mcp import make_server
    from tracescope.session import Session

    server = make_server(Session(store, config.Settings(store=str(store))))
    with pytest.raises(ToolError, match=re.escape(words)) as failure:
        asyncio.run(server.call_tool(name, given))
    assert "pydantic" not in str(failure.value)
    assert len(str(failure.value)) < 300
