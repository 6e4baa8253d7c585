"""What an extra brings is loaded where it is used: every module loads without any."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
LOADING = """
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys(sys.argv[1:]))  # importing one of these is an ImportError
import tracescope
for module in pkgutil.walk_packages(tracescope.__path__, "tracescope."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


def named(requirements: Iterable[str]) -> set[str]:
    """Distributions by their normal names."""
    return {re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", one)[0]).lower() for one in requirements}


def brought_by_extras() -> set[str]:
    """Top-level modules that extras install and the core does not, as far as they are installed here."""
    extras = PROJECT["optional-dependencies"]
    optional = {name for extra in extras.keys() - {"test", "dev"} for name in named(extras[extra])}
    core = named(PROJECT["dependencies"])
    return {
        module
        for module, distributions in packages_distributions().items()
        if named(distributions) & optional and not named(distributions) & core
    }


def test_every_module_loads_without_the_extras() -> None:
    """An import of one of theirs at the top of a module would break the lean install."""
    extras = brought_by_extras()
    assert {"mcp", "weasyprint"} <= extras
    of_sdk = ["opentelemetry.sdk", "opentelemetry.exporter"]  # the core's protobufs share their package
    command = [sys.executable, "-c", LOADING, *sorted(extras - {"opentelemetry"}), *of_sdk]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
