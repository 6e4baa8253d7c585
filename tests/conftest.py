"""Options of the test run."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--regenerate-goldens` writes rendered text anew instead of comparing it; read the diff after."""
    parser.addoption("--regenerate-goldens", action="store_true", help="write tests/golden anew")
