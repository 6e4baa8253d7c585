"""Several stores answer as one store of all their spans does, however the spans were dealt out.

spans ─┬─► one store ──────────────► answers ─┐
       └─► dealt to A, B, C ─► read as one ───┴─► the same JSON, the same checksum
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from builders import EPOCH_NS, Made, frame, tree
from click.testing import CliRunner, Result
from stores import seal_at

import tracescope
from tracescope import schema
from tracescope.analysis.rollups.merge import checksum
from tracescope.cli import main
from tracescope.engine.rollups import RollupRequest, rollups_in
from tracescope.schema import HOUR_NS
from tracescope.store import SpanStore
from tracescope.store.several import open_stores

HOURS = 40
PERIODS = tuple(
    "/".join(datetime.fromtimestamp((EPOCH_NS + at * HOUR_NS) // 10**9, UTC).strftime("%FT%H:%MZ")
             for at in bounds)
    for bounds in ((0, HOURS // 2), (HOURS // 2, HOURS))
)  # fmt: skip


def shop(seed: int = 0, hours: int = HOURS, each: int = 6) -> list[Made]:
    """Requests over two services and a database, and messages in traces of their own; some cross the hour."""
    rng = random.Random(seed)
    made: list[Made] = []
    for hour in range(hours):
        for n in range(each):
            number = hour * each + n
            at = EPOCH_NS + hour * HOUR_NS + rng.randrange(HOUR_NS)
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


def dealt(
    folder: Path, spans: Sequence[Made], deal: Deal, *, sealed: Sequence[bool] = (True, True, True)
) -> list[Path]:
    """Stores of spans dealt out."""
    rng = random.Random(1)
    hands: dict[int, list[Made]] = {}
    for span in spans:
        hands.setdefault(deal(span, rng), []).append(span)
    paths: list[Path] = []
    for number, hand in sorted(hands.items()):
        paths.append(folder / f"store{number}")
        seal_at(paths[-1], frame(hand), sealed=sealed[number])
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


@pytest.mark.parametrize("deal", DEALS, ids=lambda deal: deal.__name__)
def test_stores_are_as_one_however_spans_were_dealt_out(tmp_path: Path, deal: Deal) -> None:
    """The same checksum of all rollups, and the same answers."""
    spans = shop()
    one = seal_at(tmp_path / "one", frame(spans))
    paths = dealt(tmp_path, spans, deal)
    several = open_stores(paths)
    assert sums(several) == sums(one)
    assert several.extent() == one.extent()
    assert answers(paths) == answers(tmp_path / "one")
