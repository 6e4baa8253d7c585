"""Several stores answer as one store of all their spans does, however the spans were dealt out.

spans ─┬─► one store ──────────────► answers ─┐
       └─► dealt to A, B, C ─► read as one ───┴─► the same JSON, the same checksum
"""

from __future__ import annotations

import json
import random
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from builders import EPOCH_NS, Made, frame, tree
from click.testing import CliRunner, Result
from processes import Program, eventually
from starlette.testclient import TestClient
from stores import land, new_store, seal_at

import tracescope
from tracescope import schema
from tracescope.analysis.rollups import renaming
from tracescope.analysis.rollups.merge import checksum
from tracescope.cli import main
from tracescope.config import Settings
from tracescope.engine.rollups import RollupRequest, rollups_in
from tracescope.engine.seal import seal
from tracescope.engine.union import examine
from tracescope.engine.upkeep import prune
from tracescope.errors import UsageError
from tracescope.mcp import Tools
from tracescope.schema import HOUR_NS
from tracescope.session import Session
from tracescope.store import SpanStore
from tracescope.store.several import open_stores
from tracescope.web.app import make_app

HOURS = 40
PERIODS = tuple(
    "/".join(datetime.fromtimestamp((EPOCH_NS + at * HOUR_NS) // 10**9, UTC).strftime("%FT%H:%MZ")
             for at in bounds)
    for bounds in ((0, HOURS // 2), (HOURS // 2, HOURS))
)  # fmt: skip


def shop(seed: int = 0, hours: int = HOURS, each: int = 6, apart: int = 1) -> list[Made]:
    """Requests over two services and a database, and messages in traces of their own; some cross the hour."""
    rng = random.Random(seed)
    made: list[Made] = []
    for hour in range(hours):
        for n in range(each):
            number = hour * each + n
            at = EPOCH_NS + hour * apart * HOUR_NS + rng.randrange(HOUR_NS)
            trace, slow = 1 + 2 * number, rng.randrange(5, 20) + (hour >= hours // 2) * 8
            end = 60 + slow
            made += tree(
                f"gateway 0-{end} server op='GET /buy' instance=g{n % 3} version=1 host=g{n % 3}\n"
                f"  gateway 2-{end - 5} client op=place peer=orders instance=g{n % 3} host=g{n % 3}\n"
                f"    orders 4-{end - 8} server op=place instance=o{n % 2} host=o{n % 2}\n"
                f"      orders 6-{6 + slow} client db peer=postgresql/orders op=SELECT host=o{n % 2}"
                f"{' error' if rng.random() < 0.2 else ''}\n"
                f"      orders 40-45 producer peer=mail op=send host=o{n % 2}\n",
                trace=trace,
                at_ns=at,
            )
            wait = rng.choice([1, 30, 4_000_000])  # the last one is more than an hour
            made += tree(
                f"mailer {45 + wait}-{75 + wait} consumer peer=mail op=process link={trace}:5 host=m\n",
                trace=trace + 1,
                at_ns=at,
                first=9,
            )
    return made


def by_trace(span: Made, rng: random.Random) -> int:
    """Each trace whole to one of them."""
    return random.Random(span.trace * 7919).randrange(3)


def by_instance(span: Made, rng: random.Random) -> int:
    """Each instance sends to a receiver of its own."""
    return random.Random(span.host).randrange(3)


def by_service(span: Made, rng: random.Random) -> int:
    """Each service sends to a receiver of its own."""
    return ["gateway", "orders", "mailer"].index(span.service)


def by_hour(span: Made, rng: random.Random) -> int:
    """A receiver an hour, in turn."""
    return span.start // HOUR_NS % 3


def by_half(span: Made, rng: random.Random) -> int:
    """One store after the other."""
    return int(span.start // HOUR_NS >= EPOCH_NS // HOUR_NS + HOURS // 2)


def by_span(span: Made, rng: random.Random) -> int:
    """Each span anywhere."""
    return rng.randrange(3)


Deal = Callable[[Made, random.Random], int]
DEALS: Sequence[Deal] = (by_trace, by_instance, by_service, by_hour, by_half, by_span)


def hands(spans: Sequence[Made], deal: Deal) -> list[list[Made]]:
    """Spans dealt out."""
    rng = random.Random(1)
    held: dict[int, list[Made]] = {}
    for span in spans:
        held.setdefault(deal(span, rng), []).append(span)
    return [hand for _, hand in sorted(held.items())]


def dealt(
    folder: Path, spans: Sequence[Made], deal: Deal, *, sealed: Sequence[bool] = (True, True, True)
) -> list[Path]:
    """Stores of spans dealt out."""
    each = hands(spans, deal)
    paths = [folder / f"store{number}" for number in range(len(each))]
    for path, hand, is_sealed in zip(paths, each, sealed, strict=False):
        seal_at(path, frame(hand), sealed=is_sealed)
    return paths


def sums(store: SpanStore, hours: tuple[int, int] = (0, HOURS)) -> str:
    """Checksum of all rollups of hours, and of the names that they use."""
    start, end = (EPOCH_NS + hour * HOUR_NS for hour in hours)
    request = RollupRequest(start, end, environment="", tables=tuple(schema.ROLLUPS))
    tables = dict(store.reading(lambda found: rollups_in(store, found, request)).tables)
    for name, key, user in (("entries", "entry_id", "entry_hours"), ("paths", "path_id", "path_hours")):
        tables[name] = tables[name].join(tables[user].select(key), on=key, how="semi")
    return checksum(tables)


def answers(stores: Path | list[Path]) -> dict[str, Any]:
    """What the library says of them."""
    asked = tracescope.open_store(stores, tz="UTC")
    return {
        "diff": asked.diff(*PERIODS).to_dict(),
        "graph": asked.graph("all", level="operation").to_dict(),
        "compared": asked.graph(PERIODS[1], base=PERIODS[0]).to_dict(),
    }


def run(*arguments: str | Path, environment: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env=environment)


def given(paths: Sequence[Path]) -> list[str]:
    """Each as ``--store``."""
    return [word for path in paths for word in ("--store", str(path))]


def check_as_one(
    tmp_path: Path, spans: Sequence[Made], deal: Deal, sealed: Sequence[bool] = (True, True, True)
) -> None:
    """Stores of spans dealt out are as one store of all of them, which sealed what they did."""
    each = list(zip(hands(spans, deal), sealed, strict=False))
    one = new_store(tmp_path / "one")
    for number, (hand, is_sealed) in enumerate(each):
        if is_sealed:
            land(one, frame(hand), str(number))
    seal(one)
    for number, (hand, is_sealed) in enumerate(each):
        if not is_sealed:
            land(one, frame(hand), str(number))
    paths = dealt(tmp_path, spans, deal, sealed=sealed)
    several = open_stores(paths)
    assert sums(several) == sums(one)
    assert several.extent() == one.extent()
    assert answers(paths) == answers(tmp_path / "one")


def raw_hours(paths: Sequence[Path]) -> frozenset[int]:
    """Hours that stores take from raw spans because rollups would not do."""
    several = open_stores(paths)
    return several.reading(lambda found: examine(several, found, list(found.pointer.hours)).raw)


# -- dealt out -------------------------------------------------------------------------------------


@pytest.mark.parametrize("deal", DEALS, ids=lambda deal: deal.__name__)
def test_stores_are_as_one_however_spans_were_dealt_out(tmp_path: Path, deal: Deal) -> None:
    """The same checksum of all rollups, and the same answers."""
    check_as_one(tmp_path, shop(), deal)


@pytest.mark.parametrize("seed", range(1, 5))
def test_stores_are_as_one_for_other_shops_and_hands(tmp_path: Path, seed: int) -> None:
    """Random traces, random ways to deal them out, some of it sealed and some only landed."""
    rng = random.Random(seed)
    sealed = [rng.random() < 0.7 for _ in range(3)]
    check_as_one(tmp_path, shop(seed, each=3), rng.choice(DEALS), sealed)


def test_hours_of_whole_traces_are_added_up(tmp_path: Path) -> None:
    """Their raw spans are not needed; those of traces with spans in several stores are."""
    spans = shop(each=3)
    assert not raw_hours(dealt(tmp_path / "whole", spans, by_trace))
    assert raw_hours(dealt(tmp_path / "parted", spans, by_service))


def test_waits_between_stores_leave_no_note(tmp_path: Path) -> None:
    """One store alone has a note on its messages, both together have none."""
    paths = dealt(tmp_path, shop(), lambda span, _: span.trace % 4 != 1)
    for asked, noted in ((paths[:1], False), (paths[1:], True), (paths, False)):
        notes = " ".join(tracescope.open_store(asked, tz="UTC").diff(*PERIODS).notes)
        assert ("name a producer that is not in this store" in notes) == noted, notes


def test_spans_that_came_to_several_stores_count_once(tmp_path: Path) -> None:
    """Whole traces and single spans, as after a retry, and copies that differ."""
    spans = shop()
    one = seal_at(tmp_path / "one", frame(spans))
    rng = random.Random(3)
    again = [span for span in spans if span.trace % 10 == 1 or rng.random() < 0.02]
    for name, hand in (("a", spans), ("b", again)):
        seal_at(tmp_path / name, frame(hand))
    paths = [tmp_path / "a", tmp_path / "b"]
    assert sums(open_stores(paths)) == sums(one)
    assert answers(paths) == answers(tmp_path / "one")
    other = [replace(span, content_hash=5, end=span.end + 10**9) for span in again]
    for name, hand in (("c", [*spans, *other]), ("d", other)):
        seal_at(tmp_path / name, frame(hand))
    assert sums(open_stores([tmp_path / "a", tmp_path / "d"])) == sums(open_stores([tmp_path / "c"]))


def test_a_store_named_twice_counts_once(tmp_path: Path) -> None:
    """By another way to write its path, too."""
    store = seal_at(tmp_path / "one", frame(shop(each=2)))
    (tmp_path / "link").symlink_to(tmp_path / "one")
    for twice in ([tmp_path / "one", tmp_path / "link"], [tmp_path / "one", tmp_path / "x" / ".." / "one"]):
        assert open_stores(twice).root == twice[0]
        assert sums(open_stores(twice)) == sums(store)


# -- names -----------------------------------------------------------------------------------------


def busy(names: int, each: int = 2, hours: int = HOURS) -> list[Made]:
    """Requests under so many names an hour, called unlike often; a store has some names of another's."""
    made: list[Made] = []
    for hour in range(hours):
        for n in range(names):
            for call in range(each + n % 3):
                number = 1 + (hour * names + n) * 10 + call
                word = "".join(chr(97 + n // 26**place % 26) for place in range(3))
                made += tree(
                    f"web 0-{20 + n % 7} server op='{word} {hour % 2}x'\n"
                    f"  web 2-{10 + hour // 20} client db peer=postgresql/x op='SELECT {word}'\n",
                    trace=number,
                    at_ns=EPOCH_NS + hour * HOUR_NS + number % 3000 * 10**9,
                )
    return made


@pytest.mark.parametrize("caps", [(3, 3), (3, 1000), (1000, 3)], ids=["both", "first", "second"])
@pytest.mark.parametrize("names", [5, 9])
def test_stores_that_met_the_cap_of_operations_are_as_one_that_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caps: tuple[int, int], names: int
) -> None:
    """All of them, or one: what it no longer names is in its raw spans."""
    spans = busy(names)
    each = hands(spans, lambda span, _: span.trace % 3 % 2)
    for number, (hand, cap) in enumerate(zip(each, caps, strict=True)):
        monkeypatch.setattr(renaming, "MAX_OPERATIONS", cap)
        seal_at(tmp_path / str(number), frame(hand))
    monkeypatch.setattr(renaming, "MAX_OPERATIONS", max(caps))
    one = seal_at(tmp_path / "one", frame(spans))
    paths = [tmp_path / "0", tmp_path / "1"]
    assert raw_hours(paths)
    assert sums(open_stores(paths)) == sums(one)
    assert answers(paths) == answers(tmp_path / "one")


def test_names_that_are_too_many_only_together_are_capped_from_rollups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither store met the cap; both together do, and no raw span is needed."""
    monkeypatch.setattr(renaming, "MAX_OPERATIONS", 6)
    spans = busy(9)
    by_name = hands(spans, lambda span, _: int(span.operation.removeprefix("SELECT ")[0] > "e"))
    for number, hand in enumerate(by_name):
        seal_at(tmp_path / str(number), frame(hand))
    one = seal_at(tmp_path / "one", frame(spans))
    paths = [tmp_path / "0", tmp_path / "1"]
    assert not raw_hours(paths)
    assert sums(open_stores(paths)) == sums(one)
    assert answers(paths) == answers(tmp_path / "one")


@pytest.mark.parametrize("names", [40, 70])
def test_names_that_are_called_once_are_collapsed_as_in_one_store(tmp_path: Path, names: int) -> None:
    """In one store, in none or in each; names that both have, and that are called often only together."""
    spans: list[Made] = []
    for hour in range(HOURS):
        for n in range(names):
            for call in range(1 + n % 4 + 4 * (n < 5)):
                number = 1 + (hour * names + n) * 8 + call
                at = n if n < 5 else n + hour % 20 * names
                word = "".join(chr(97 + at // 26**place % 26) for place in range(4))
                spans += tree(
                    f"web 0-{20 + n % 7} server op='greet {word}'\n",
                    trace=number,
                    at_ns=EPOCH_NS + hour * HOUR_NS + n * 10**9,
                )
    check_as_one(tmp_path, spans, lambda span, _: span.trace % 3 // 2)


# -- what is gone ----------------------------------------------------------------------------------


def forget(path: Path) -> None:
    """Remove all raw spans of a store."""
    prune(open_stores([path]), now_ns=EPOCH_NS + 10**18, spans_days=1, rollups_days=8000)


def test_without_raw_spans_whole_traces_are_as_in_one_store(tmp_path: Path) -> None:
    """Rollups suffice, of all stores or of one, waits between them too."""
    spans = shop()
    one = seal_at(tmp_path / "one", frame(spans))
    forget(tmp_path / "one")
    expected = sums(one), answers(tmp_path / "one")
    paths = dealt(tmp_path, spans, by_trace)
    forget(paths[0])
    assert (sums(open_stores(paths)), answers(paths)) == expected
    for path in paths[1:]:
        forget(path)
    assert (sums(open_stores(paths)), answers(paths)) == expected


@pytest.mark.parametrize("deal", [by_service, by_span], ids=lambda deal: deal.__name__)
def test_without_raw_spans_parts_of_traces_are_told(tmp_path: Path, deal: Deal) -> None:
    """Where they would be needed: nothing is lost, and a note says what counts twice."""
    paths = dealt(tmp_path, shop(), deal)
    forget(paths[1])
    notes = " ".join(tracescope.open_store(paths, tz="UTC").diff(*PERIODS).notes)
    assert "traces are in several stores, and count once in each" in notes


# -- commands --------------------------------------------------------------------------------------

#: A shop of so many days, an hour a day.
DAYS = 32
WEEKS = tuple(
    "/".join(datetime.fromtimestamp((EPOCH_NS + at * 24 * HOUR_NS) // 10**9, UTC).strftime("%F")
             for at in bounds)
    for bounds in ((0, DAYS // 2), (DAYS // 2, DAYS + 1))
)  # fmt: skip
RULES = Path(__file__).parents[1] / "examples" / "rules.toml"
ASKED = (
    ("diff", *WEEKS, "--format", "json"), ("diff", *WEEKS), ("diff", *WEEKS, "--format", "markdown"),
    ("diff", *WEEKS, "--where", "x=y"), ("diff", *WEEKS, "--quantile", "0.5", "--format", "json"),
    ("explain", "orders -> postgresql/orders", *WEEKS, "--format", "json"),
    ("graph", "all", "--format", "json"), ("graph", "all", "--format", "dot"),
    ("forecast", "--format", "json"), ("forecast", "--growth", "3"),
    ("check", RULES, "all"), ("digest", *WEEKS), ("path", f"{7:x}{41:016x}", "--format", "json"),
    ("path", f"{7:x}{41:016x}"), ("mark",), ("mute",),
)  # fmt: skip


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """One store of some weeks, and the same dealt out to several; with marks and mutes."""
    folder, spans = tmp_path_factory.mktemp("month"), shop(hours=DAYS, each=24, apart=24)
    one, paths = folder / "one", dealt(folder, spans, by_instance)
    seal_at(one, frame(spans))
    for number, path in enumerate([one, *paths]):
        store = open_stores([path])
        if number != 2:
            store.mark("release", EPOCH_NS)
        if number in (0, 2):
            store.mark("later", EPOCH_NS + HOUR_NS)
            store.mute("0123456789ab", EPOCH_NS + 10**18, "known", now_ns=EPOCH_NS)
    return one, paths


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: "-".join(map(str, asked))[:40])
def test_every_command_says_of_several_what_it_says_of_one(
    month: tuple[Path, list[Path]], asked: tuple[str | Path, ...]
) -> None:
    """Byte for byte, with the same exit code."""
    one, paths = month
    zone = () if asked[0] in ("path", "forecast") else ("--tz", "UTC")
    expected, got = run(*asked, *zone, "--store", one), run(*asked, *zone, *given(paths))
    assert (got.exit_code, got.stdout) == (expected.exit_code, expected.stdout)
    assert expected.stdout or "x=y" in asked


def test_a_list_in_the_settings_and_in_the_variable_is_all_stores(
    month: tuple[Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the flag given several times; the flag wins."""
    one, paths = month
    monkeypatch.chdir(tmp_path)
    asked = ("diff", *WEEKS, "--tz", "UTC", "--format", "json")
    expected = run(*asked, "--store", one).stdout
    several = ",".join(map(str, paths))
    assert run(*asked, environment={"TRACESCOPE_STORE": several}).stdout == expected
    Path("tracescope.toml").write_text(f"store = {json.dumps([str(path) for path in paths])}\n")
    assert run(*asked).stdout == expected
    assert run(*asked, "--store", one).stdout == expected
    assert json.loads(run("config", "show", "--format", "json").stdout)


def test_status_tells_each_store_by_itself(month: tuple[Path, list[Path]]) -> None:
    """And what they hold together is what one holds."""
    one, paths = month
    whole = json.loads(run("status", "--format", "json", "--store", one).stdout)
    told = json.loads(run("status", "--format", "json", *given(paths)).stdout)
    assert told["schema"] == "tracescope.statuses/1"
    assert [each["store"] for each in told["stores"]] == [str(path) for path in paths]
    assert sum(each["spans"]["stored"] for each in told["stores"]) == whole["spans"]["stored"]
    text = run("status", *given(paths)).stdout
    assert [line.split()[1] for line in text.splitlines() if line.startswith("store ")] == [
        str(path) for path in paths
    ]


PAGES = ("growth", "map", "paths", "traces", "forecast", "traces?service=orders&q=place")


@pytest.mark.parametrize("page", PAGES)
def test_the_page_shows_of_several_what_it_shows_of_one(month: tuple[Path, list[Path]], page: str) -> None:
    """Its JSON twin, and search in raw spans of traces that lie in several stores."""
    one, paths = month
    asked = f"/api/{page}{'&' if '?' in page else '?'}base={WEEKS[0]}&head={WEEKS[1]}"
    answered = []
    for stores in ([one], paths):
        settings = Settings(store=tuple(map(str, stores)), tz="UTC")
        client = TestClient(make_app(Session(stores, settings)), base_url="http://127.0.0.1")
        answer = client.get(asked)
        assert answer.status_code == 200, answer.text
        answered.append(answer.json())
    assert answered[0] == answered[1]


def test_the_page_offers_no_form_that_several_stores_refuse(month: tuple[Path, list[Path]]) -> None:
    """Findings are muted and instants marked where there is one store."""
    one, paths = month
    for stores, offered in (([one], True), (paths, False)):
        session = Session(stores, Settings(store=tuple(map(str, stores)), tz="UTC"))
        client = TestClient(make_app(session), base_url="http://127.0.0.1")
        shown = client.get(f"/?base={WEEKS[0]}&head={WEEKS[1]}")
        assert shown.status_code == 200
        assert 'class="card finding"' in shown.text
        for action in ("/mute", "/mark"):
            assert (f'action="{action}"' in shown.text) is offered, (action, offered)


def test_the_report_of_several_is_that_of_one(month: tuple[Path, list[Path]]) -> None:
    """Byte for byte, but for where they are and when it was made."""
    one, paths = month

    def told(stores: list[Path], form: str) -> str:
        asked = ("report", *WEEKS, "--format", form, "--tz", "UTC", *given(stores))
        result = run(*asked)
        assert result.exit_code == 0, result.output
        text = result.stdout.replace(" ".join(given(stores)), "STORES")
        return re.sub(r"\d\d:\d\d:\d\d(?=</p>| UTC\.)", "", text)

    for form in ("html", "markdown"):
        assert told(paths, form) == told([one], form)


def test_a_viewer_of_two_stores_answers_like_one_and_writes_to_neither(
    month: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    """`serve` without receivers; marks are refused with a sentence."""
    one, paths = month
    before = {path: path.stat().st_mtime_ns for store in paths for path in store.rglob("*")}
    answered = []
    for number, stores in enumerate(([one], paths)):
        log = tmp_path / f"{number}.log"
        command = [sys.executable, "-m", "tracescope", "serve", "--grpc", "off", "--http", "off"]
        program = Program([*command, "--web", "127.0.0.1:0", *given(stores)], log)
        try:
            eventually(lambda log=log: "web page on http" in log.read_text(), "it says where its page is")
            address = log.read_text().split("web page on ")[1].split(",")[0]
            with urllib.request.urlopen(f"{address}/api/growth?base={WEEKS[0]}&head={WEEKS[1]}") as answer:
                answered.append(json.loads(answer.read()))
            if stores == paths:
                form = urllib.request.Request(f"{address}/mark", data=b"name=x", headers={"Origin": address})
                with pytest.raises(urllib.error.HTTPError) as refused:
                    urllib.request.urlopen(form)
                assert "several stores are only read" in refused.value.read().decode()
        finally:
            assert program.stop() == 0
    assert answered[0] == answered[1]
    assert {path: path.stat().st_mtime_ns for store in paths for path in store.rglob("*")} == before


def test_receivers_refuse_several_stores(tmp_path: Path) -> None:
    """Before any is made."""
    result = run("serve", *given([tmp_path / "a", tmp_path / "b"]))
    assert result.exit_code == 2
    assert "receivers write to one store, and 2 are given" in result.stderr
    assert not list(tmp_path.iterdir())


def test_several_stores_are_never_written_to(month: tuple[Path, list[Path]]) -> None:
    """By the library neither."""
    asked = tracescope.open_store(month[1])
    with pytest.raises(UsageError, match="one store"):
        asked.import_files(RULES)
    store = open_stores(month[1])
    for write in (lambda: store.mark("x", 1), lambda: store.unmute("x"), lambda: seal(store)):
        with pytest.raises(UsageError, match="several stores are only read"):
            write()


def test_agents_tools_read_several(month: tuple[Path, list[Path]]) -> None:
    """The same answers as of one."""
    one, paths = month
    first, second = (
        Tools(Session(stores, Settings(store=tuple(map(str, stores)), tz="UTC"))) for stores in ([one], paths)
    )
    assert first.diff(*WEEKS) == second.diff(*WEEKS)
    assert first.trace(f"{7:x}{41:016x}") == second.trace(f"{7:x}{41:016x}")


# -- one of them is broken -------------------------------------------------------------------------


def test_one_of_several_that_is_missing_empty_or_broken_is_named(tmp_path: Path) -> None:
    """With the exit code that it has alone; an empty one adds nothing."""
    spans = shop()
    paths = dealt(tmp_path, spans, by_trace)
    asked = ("diff", *PERIODS, "--tz", "UTC", "--format", "json")
    expected = run(*asked, *given(paths)).stdout
    gone, empty = tmp_path / "gone", tmp_path / "empty"
    alone, among = run(*asked, "--store", gone), run(*asked, *given([*paths, gone]))
    assert (among.exit_code, among.stderr) == (alone.exit_code, alone.stderr)
    new_store(empty)
    assert run(*asked, *given([*paths, empty])).stdout == expected
    for name, data in (("CURRENT.json", b"{"), ("FORMAT.json", b'{"format": 99}'), ("FORMAT.json", b"no")):
        kept = (paths[1] / name).read_bytes()
        (paths[1] / name).write_bytes(data)
        alone, among = run(*asked, "--store", paths[1]), run(*asked, *given(paths))
        assert (among.exit_code, among.stderr) == (alone.exit_code, alone.stderr)
        assert alone.exit_code == 1
        (paths[1] / name).write_bytes(kept)
    file = next((paths[1] / "sealed" / "entry_hours").glob("*.parquet"))
    file.write_bytes(b"PAR1" + bytes(file.stat().st_size - 8) + b"PAR1")
    notes = " ".join(json.loads(run(*asked, *given(paths)).stdout)["notes"])
    assert "1 damaged files were left out" in notes
    assert str(file) in notes
