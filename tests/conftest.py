"""Options of the test run."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, TypeVar

import pytest

if TYPE_CHECKING:
    from buckets import S3Server

R = TypeVar("R", pytest.TestReport, pytest.CollectReport)

#: Reasons that a machine of CI may have and cannot mend; any other skip is a test that it could have run.
UNAVOIDABLE: Final = (
    r"mounting a small (tmpfs|file system) needs root",  # CI may run as a user
    r"(a|no) tmpfs can(not)? be mounted here",  # ... or in a container that may not mount
    r"only \d+ files may be open here",  # a hard limit that only the machine's owner can raise
    r"looks at /proc, which is Linux's",
    r"the Collector is built for Linux",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--regenerate-goldens` writes rendered text anew instead of comparing it; read the diff after.

    `--no-skips` fails a test that is skipped for another reason than `UNAVOIDABLE`: a library or a program
    that is missing where everything should be would else go unnoticed.
    """
    parser.addoption("--regenerate-goldens", action="store_true", help="write tests/golden anew")
    parser.addoption("--no-skips", action="store_true", help="fail tests that skip but could have run")


def avoidable(report: pytest.TestReport | pytest.CollectReport) -> str | None:
    """Why a report's test or module was skipped, where that counts as a failure; else None."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return None
    said = report.longrepr
    reason = said[2] if isinstance(said, tuple) else str(said)
    return None if any(re.search(known, reason) for known in UNAVOIDABLE) else reason


def _judged(report: R, config: pytest.Config) -> R:
    if config.getoption("--no-skips") and (reason := avoidable(report)) is not None:
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} could have run, with --no-skips: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test."""
    return _judged((yield), item.config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that is skipped as a whole."""
    return _judged((yield), collector.config)


@pytest.fixture(scope="session")
def _s3_servers() -> Generator[Callable[[str], S3Server]]:
    """Starts a kind of S3 server once."""
    import buckets

    with ExitStack() as stack:
        running: dict[str, S3Server] = {}

        def start(kind: str) -> S3Server:
            if kind not in running:
                running[kind] = stack.enter_context(buckets.s3_server(kind))
            return running[kind]

        yield start


@pytest.fixture
def s3_kind() -> str:
    """Which kind of S3 server a test has."""
    import buckets

    return buckets.best()


@pytest.fixture
def s3(s3_kind: str, _s3_servers: Callable[[str], S3Server], monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """An S3 server, named by the variables that clients read."""
    server = _s3_servers(s3_kind)
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where `stores.new_store` makes stores: in a folder, or in a bucket of which the folder is a mirror."""
    import stores

    place = str(request.param)
    if place == "bucket":
        request.getfixturevalue("s3")
        monkeypatch.setattr(stores, "in_bucket", True)
    return place
