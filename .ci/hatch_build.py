"""Compile the kernels into the wheel, so that nobody who installs it waits for them.

The code is good for the Python, numba and llvmlite that are here now (`made-with.json` in it says
which); with others, or from an editable install, the kernels are compiled when they are first used.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface[Any]):
    """Adds `tracescope/kernels/compiled` to a wheel, and makes it one of this platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; a wheel without compiled kernels is built where the compiler is missing."""
        if version == "editable" or self.target_name != "wheel":
            return
        try:
            platform = _platform("llvmlite")
            importlib.metadata.version("numba")
        except importlib.metadata.PackageNotFoundError as missing:
            self.app.display_warning(f"{missing} is not here: the kernels will be compiled when first used")
            return
        self.app.display_info("compiling the kernels, once: about a minute")
        self._scratch = tempfile.TemporaryDirectory()
        folder = Path(self._scratch.name) / "compiled"
        paths = [self.root, *filter(None, [os.environ.get("PYTHONPATH")])]
        subprocess.run(
            [sys.executable, "-m", "tracescope.kernels.ship", str(folder)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"},
            check=True,
        )
        build_data["force_include"][str(folder)] = "tracescope/kernels/compiled"
        build_data["pure_python"] = False
        python = f"cp{sys.version_info.major}{sys.version_info.minor}"
        build_data["tag"] = f"{python}-{python}-{platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled: it is in the wheel."""
        del version, build_data, artifact_path
        if hasattr(self, "_scratch"):
            self._scratch.cleanup()


def _platform(package: str) -> str:
    """Platforms that a package was built for: the code is of use where its compiler is, and nowhere else."""
    wheel = importlib.metadata.distribution(package).read_text("WHEEL") or ""
    tags = [line.removeprefix("Tag: ") for line in wheel.splitlines() if line.startswith("Tag: ")]
    return ".".join(tag.rpartition("-")[2] for tag in tags)
