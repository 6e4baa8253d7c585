"""Start the growing shop, or check what tracescope finds in it; ``--help`` says how."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from stage.errors import StageError
from stage.plan import Plan
from stage.sizes import Size, Walk

T = TypeVar("T")


def main() -> int:
    """Exit code 0, 1 when something ended or was missing, 3 when something was not found."""
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__)
    parser.add_argument("--run", type=Path, default=_folder(), help="folder (default %(default)s)")
    parser.add_argument("--ports-from", type=int, default=18300, help="first of the ports (default 18300)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("preflight", help="say what is missing, and start nothing")
    up = verbs.add_parser("up", help="start everything; Ctrl-C stops it")
    up.add_argument("--users", type=int, default=400, help="users at the start")
    up.add_argument("--orders", type=int, default=2000, help="old orders at the start")
    up.add_argument("--switch", action="append", default=[], help="what is wrong; may be given again")
    check = verbs.add_parser("check", help="run scenarios, and say whether tracescope found what was made")
    check.add_argument("scenarios", nargs="*", help="names; all, and healthy growth, when none is given")
    check.add_argument("--json", type=Path, help="write the outcomes there")
    _options(check, Size)
    walk = verbs.add_parser("walk", help="grow until something breaks, and see who says so first")
    _options(walk, Walk)
    arguments = parser.parse_args()
    plan = Plan(arguments.run.absolute(), arguments.ports_from)
    try:
        return {"preflight": _preflight, "up": _up, "check": _check, "walk": _walk}[arguments.verb](
            plan, arguments
        )
    except StageError as error:
        print(f"growing-shop: {error}", file=sys.stderr)
        if error.hint:
            print(error.hint, file=sys.stderr)
        return 1


def _folder() -> Path:
    """In memory where there is room, so that another program's writes to the disk are not measured."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 4 * 2**30
    return (memory if roomy else Path(tempfile.gettempdir())) / "growing-shop"


def _options(parser: argparse.ArgumentParser, kind: type) -> None:
    """An option for each field of a dataclass of settings, with its default."""
    for each in fields(kind):
        parser.add_argument(f"--{each.name.replace('_', '-')}", type=type(each.default), default=each.default)


def _given(arguments: argparse.Namespace, kind: type[T]) -> T:
    """Those settings as given."""
    return kind(**{each.name: getattr(arguments, each.name) for each in fields(kind)})  # pyright: ignore


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _preflight(plan: Plan, _: argparse.Namespace) -> int:
    from stage import preflight

    preflight.check(plan)
    _say("nothing is missing")
    return 0


def _up(plan: Plan, arguments: argparse.Namespace) -> int:
    from stage import growth
    from stage.supervisor import InterruptedStageError, Stage

    with Stage(plan, _say) as stage:
        growth.orders(plan.places, arguments.orders, max(arguments.users, 1))
        growth.throw(plan.places, arguments.switch)
        growth.users(plan.places, arguments.users)
        _say(f"the shop is at http://{plan.address('gateway')}, with {arguments.users} users")
        _say(f"tracescope is at http://{plan.address('tracescope-web')}")
        _say(f"switches are in {plan.switches}, users in {plan.load}; Ctrl-C stops everything")
        try:
            while True:
                stage.wait(60.0)
        except InterruptedStageError:
            _say("stopping")
    _say(f"stopped; the store stays: tracescope diff --store {plan.store}")
    return 0


def _check(plan: Plan, arguments: argparse.Namespace) -> int:
    from stage import check, scenarios
    from stage.supervisor import Stage

    names = arguments.scenarios or [scenarios.HEALTHY, *scenarios.BY_NAME]
    if unknown := set(names) - {scenarios.HEALTHY, *scenarios.BY_NAME}:
        known = ", ".join([scenarios.HEALTHY, *scenarios.BY_NAME])
        raise StageError(f"there is no scenario {', '.join(sorted(unknown))}", f"there are {known}")
    size = _given(arguments, check.Size)
    begin = time.monotonic()
    outcomes: list[check.Outcome] = []
    with Stage(plan, _say) as stage:
        for outcome in check.run(stage, names, size):
            outcomes.append(outcome)
            print("\n".join(outcome.lines()), flush=True)
            if arguments.json is not None:
                arguments.json.write_text(check.as_json(outcomes, size, time.monotonic() - begin))
    wrong = [outcome.name for outcome in outcomes if outcome.wrong]
    print(f"{len(outcomes) - len(wrong)} of {len(outcomes)} as they must be")
    return 3 if wrong else 0


def _walk(plan: Plan, arguments: argparse.Namespace) -> int:
    from stage import walkthrough
    from stage.supervisor import Stage

    with Stage(plan, _say) as stage:
        story = walkthrough.walk(stage, _given(arguments, walkthrough.Walk), _say)
    print("\n".join(story.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
