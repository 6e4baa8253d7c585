"""What stands elsewhere is refused by its name; what a store alone cannot know of a message is told."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from builders import EPOCH_NS, Made, frame, tree
from click.testing import CliRunner, Result
from stores import seal_at

import tracescope
from tracescope.analysis.rollups.hops import UNMATCHED_PART
from tracescope.cli import VERBS, main
from tracescope.errors import ConfigError, SourceError
from tracescope.places import host_and_port, masked, not_a_source, not_a_store
from tracescope.schema import HOUR_NS
from tracescope.sources import is_source

WRITTEN = "name a producer that is not in this store"


def run(*arguments: str | Path, environment: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env=environment)


#: Verbs that take a store, as the command line has them.
STORED = [
    verb
    for verb in VERBS
    if any(each.name == "store" for each in main.get_command(click.Context(main), verb).params)  # pyright: ignore[reportOptionalMemberAccess]
]
#: ... and what some cannot do without.
RULES = Path(__file__).parents[1] / "examples" / "rules.toml"
NEEDED = {
    "explain": ("a -> b",),
    "check": (str(RULES),),
    "path": ("abc",),
    "import": ("-",),
    "backfill": ("TABLE",),
}

#: Verbs that write to a store or look after one, and those that do when something is named.
WRITING = {"import", "serve", "demo", "prune", "verify", "rebuild", "seal", "backfill"}
NAMED = {"mark": ("deploy",), "mute": ("0123abcd",)}

#: Those of places that `import` reads are refused as stores alone.
URLS = (
    "s3a://bucket/prefix", "azure://container/x", "abfss://c@account/x", "https://shop.example/t",
    "clickhouse://host:9000/otel", "clickhouse+http://host/otel", "jdbc:clickhouse://host/otel",
    "kafka://broker/otlp_spans", "tempo://host", "file:///tmp/traces.json", "lake://unheard.of",
    "oss:/bucket",
)  # fmt: skip


# -- places ----------------------------------------------------------------------------------------


def test_all_verbs_but_those_that_answer_nothing_take_a_store() -> None:
    """So that a new one is held to the laws below."""
    assert set(VERBS) - set(STORED) == {"warmup", "config", "help", "completion"}


@pytest.mark.parametrize("verb", sorted({*STORED} - {"mcp"}))  # which asks for it with its first question
def test_a_store_given_twice_is_never_the_last_one(tmp_path: Path, verb: str) -> None:
    """What writes wants one, and says so; what answers names the one that is missing; none is made."""
    one, two = tmp_path / "one", tmp_path / "two"
    for arguments in ((*NEEDED.get(verb, ()),), *((each,) for each in NAMED.get(verb, ()))):
        result = run(verb, *arguments, "--store", one, f"--store={two}")
        assert result.stdout == ""
        if verb in WRITING or (verb in NAMED and arguments):
            assert result.exit_code == 2, result.output
            assert "one store, and 2 are given" in result.stderr
        else:
            assert result.exit_code == 4, result.output
            assert f"no store at {one}" in result.stderr
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("verb", STORED)
def test_a_url_as_store_is_refused_by_its_name_and_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, url: str
) -> None:
    """Neither a folder called after its scheme nor a connection is made."""

    def asked(*_: Any, **__: Any) -> None:
        raise AssertionError("something was asked over the network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", asked)
    monkeypatch.setattr(socket, "getaddrinfo", asked)
    result = run(verb, *NEEDED.get(verb, ()), "--store", url)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert f"tracescope: {masked(url)} is an address of " in result.stderr
    assert "give the folder of a store" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", [url for url in URLS if not is_source(url)])
def test_a_url_to_import_is_refused_with_what_works_before_a_store_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Beside files that could be read, too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "traces.json").write_text('{"resourceSpans": []}')
    for files in ((url,), ("traces.json", url)):
        result = run("import", *files, "--store", "store")
        assert result.exit_code == 2, result.output
        said = result.stderr.splitlines()
        assert said[0].startswith(f"tracescope: {masked(url)} is an address of ")
        assert len(said) == 2
        assert said[1].strip()
    assert [path.name for path in tmp_path.iterdir()] == ["traces.json"]
    with pytest.raises(SourceError):
        tracescope.open_store("store").import_files(Path(url))


def test_settings_and_the_library_refuse_it_with_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable, a file, one of several in a file, and a call."""
    monkeypatch.chdir(tmp_path)
    result = run("status", environment={"TRACESCOPE_STORE": "s3a://bucket"})
    assert result.exit_code == 2
    assert "environment: s3a://bucket is an address of object storage" in result.stderr
    (tmp_path / "tracescope.toml").write_text('store = ["one", "s3a://bucket"]\n')
    result = run("status")
    assert result.exit_code == 2
    assert "tracescope.toml: s3a://bucket is an address of object storage" in result.stderr
    (tmp_path / "tracescope.toml").unlink()
    with pytest.raises(ConfigError, match="address of object storage"):
        tracescope.open_store("gcs://bucket")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://key:secret@bucket/x?X-Amz-Signature=secret#secret", "s3://***@bucket/x"),
        ("clickhouse://user:se/cr?et@host:9000/otel", "clickhouse://***@host:9000/otel"),
        ("https://host/a?token=secret", "https://host/a"),
        ("https://host/a?mail=secret@b", "https://***@b"),
        ("/plain/path?x@y", "/plain/path?x@y"),
    ],
)
def test_secrets_of_a_url_are_not_shown(url: str, shown: str) -> None:
    """Wherever they stand in it: rather too little is shown."""
    assert masked(url) == shown
    for found in (not_a_source(url), not_a_store(url)):
        assert found is None or "secret" not in found.message + found.hint


@pytest.mark.parametrize(
    "name", ["-", "traces.json", "/a/b", "C:/traces", "C:\\traces", "2026-09-30T10:/x", "a b/c", "**/*.json"]
)
def test_a_path_is_no_url(name: str) -> None:
    """A drive has one letter."""
    assert not_a_source(name) is None
    assert not_a_store(name) is None


@pytest.mark.parametrize(
    ("made", "called"),
    [
        ("spans.parquet", "a Parquet file"), ("notes.txt", "a file"),
        ("table/_delta_log/0.json", "a Delta table"),
        ("table/part-0.parquet", "a folder of Parquet files"), ("table/data.parquet", "a block of Tempo"),
        ("table/metadata/1.metadata.json", "an Iceberg table"),
    ],
)  # fmt: skip
def test_a_file_or_somebody_elses_table_as_store_is_called_by_its_kind(
    tmp_path: Path, made: str, called: str
) -> None:
    """By a command that reads and by one that would write into it."""
    path = tmp_path / made
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"PAR1" if made == "spans.parquet" else b"x")
    place = tmp_path / Path(made).parts[0]
    for arguments in (("diff",), ("import", path)):
        result = run(*arguments, "--store", place)
        assert result.exit_code == 2, result.output
        assert f"{place} is {called}" in result.stderr
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


@pytest.mark.parametrize(
    "data", [b"PAR1" + bytes(range(256)), b"SQLite format 3\0", bytes(range(254, 0, -1))]
)
def test_a_file_of_an_unknown_kind_is_named_with_what_works_and_exit_2(tmp_path: Path, data: bytes) -> None:
    """Alone, and where nothing else was given."""
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(data)
    for files in ((tmp_path / "one",), (tmp_path / "one", tmp_path / "two")):
        result = run("import", *files, "--store", tmp_path / "store")
        assert result.exit_code == 2, result.output
        assert f"{tmp_path / 'one'}: " in result.stderr
        assert len(result.stderr.splitlines()) == 2


# -- hops ------------------------------------------------------------------------------------------

#: An hour with so many messages on each of so many days, far enough apart for a forecast.
HOURS, APART = 32, 24
EACH = 40
PERIODS = tuple(
    "/".join(datetime.fromtimestamp((EPOCH_NS + at * APART * HOUR_NS) // 10**9, UTC).strftime("%FT%H:%MZ")
             for at in bounds)
    for bounds in ((0, HOURS // 2), (HOURS // 2, HOURS))
)  # fmt: skip


def messages(lost: int) -> tuple[list[Made], list[Made]]:
    """Producers, and consumers in traces of their own; of each hour's EACH `lost` link to nobody."""
    sent: list[Made] = []
    taken: list[Made] = []
    for hour in range(HOURS):
        for n in range(EACH):
            at, trace = EPOCH_NS + hour * APART * HOUR_NS + n * 10**9, 1 + 2 * (hour * EACH + n)
            sent += tree("a 0-20 server\n  a 5-10 producer peer=orders", trace=trace, at_ns=at)
            linked = 9_999_999 if n < lost else trace
            taken += tree(f"w 30-70 consumer peer=orders link={linked}:2", trace=trace + 1, at_ns=at, first=9)
    return sent, taken


def answers(store: Path) -> dict[str, str]:
    """What every answer of a period says, in its own form."""
    said = {
        "diff table": run("diff", *PERIODS, "--store", store).output,
        "diff json": run("diff", *PERIODS, "--store", store, "--format", "json").stdout,
        "explain": run("explain", "orders -> w", *PERIODS, "--store", store).output,
        "diff csv": run("diff", *PERIODS, "--store", store, "--format", "csv").stderr,
        "digest": run("digest", *PERIODS, "--store", store).stdout,
        "check": run(
            "check", Path(__file__).parents[1] / "examples" / "rules.toml", "all", "--store", store
        ).output,
        "graph": run("graph", "all", "--store", store).output,
        "graph json": run("graph", "all", "--store", store, "--format", "json").stdout,
        "report": run("report", *PERIODS, "--store", store, "--format", "markdown").stdout,
        "forecast": run("forecast", "--store", store).output,
    }
    asked = tracescope.open_store(store, tz="UTC")
    said["library's diff"] = " ".join(asked.diff(*PERIODS).notes)
    said["library's graph"] = json.dumps(asked.graph("all").to_dict()["notes"])
    return said


def test_two_halves_in_two_stores_are_told_by_each_answer_and_together_by_none(tmp_path: Path) -> None:
    """As where each trace goes whole to one of two instances."""
    sent, taken = messages(0)
    here = [span for span in sent if span.trace // 2 % EACH < EACH // 2]
    for name, spans in (("both", [*sent, *taken]), ("consumers", [*here, *taken])):
        seal_at(tmp_path / name, frame(spans))
    for name, said in answers(tmp_path / "both").items():
        assert WRITTEN not in said, name
    for name, said in answers(tmp_path / "consumers").items():
        assert WRITTEN in " ".join(said.split()), (name, said)
    found = json.loads(answers(tmp_path / "consumers")["diff json"])["notes"]
    told = [note for note in found if WRITTEN in note]
    assert [note.split(" of the")[0] for note in told] == ["up to 50%", "up to 50%"]


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "landed"])
def test_few_unmatched_hops_are_no_note(tmp_path: Path, *, sealed: bool) -> None:
    """A link or two leads nowhere in any store; from rollups and from spans alike."""
    for lost in (1, 2):
        sent, taken = messages(lost)
        seal_at(tmp_path / str(lost), frame([*sent, *taken]), sealed=sealed)
        notes = tracescope.open_store(tmp_path / str(lost), tz="UTC").graph("all").to_dict()["notes"]
        assert any(WRITTEN in note for note in notes) == (lost / EACH > UNMATCHED_PART), notes


@pytest.mark.parametrize(
    "address", ["127.0.0.1:99999", "[::1]:65536", "127.0.0.1", ":4317", "", "host:", "host:x", "host:\u0664"]
)
def test_an_address_to_listen_on_is_a_host_and_a_port_that_there_is(address: str) -> None:
    """A server of gRPC would listen on port 34463 when asked for 99999."""
    with pytest.raises(ConfigError, match="expected HOST:PORT, with a port up to 65535") as failure:
        host_and_port(address, "--grpc", "127.0.0.1:4317")
    assert failure.value.hint == "for example 127.0.0.1:4317"
    assert host_and_port("[::1]:65535", "--grpc", "") == ("[::1]", 65535)
