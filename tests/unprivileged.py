"""Commands as a user whom file modes bind: root's right to pass them by is given up first.

    python unprivileged.py < calls.json

reads a list of calls, each a list of words, and writes [exit code, stdout, stderr] of each.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

#: linux/capability.h: version 3, whose data is twice (effective, permitted, inheritable).
_VERSION = 0x20080522


def give_up_rights() -> None:
    """Clear every capability of this process; a user without any stays as it is."""
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    none = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")


def run_all(calls: Sequence[Sequence[str | Path]], folder: Path) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each call, in a process of their own."""
    words = json.dumps([[str(word) for word in call] for call in calls])
    home = {**os.environ, "XDG_CONFIG_HOME": str(folder / "none"), "XDG_DATA_HOME": str(folder / "none")}
    ran = subprocess.run(
        [sys.executable, __file__], input=words, capture_output=True, text=True, timeout=300, check=False,
        env=home, cwd=folder,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return [tuple(each) for each in json.loads(ran.stdout)]


def main() -> None:
    """Run the calls of standard input."""
    from click.testing import CliRunner

    from tracescope.cli import main as command

    give_up_rights()
    said: list[tuple[int, str, str]] = []
    for call in json.loads(sys.stdin.read()):
        result = CliRunner().invoke(command, call)
        failed = result.exception
        if failed is not None and not isinstance(failed, SystemExit):
            raise failed
        said.append((result.exit_code, result.stdout, result.stderr))
    print(json.dumps(said))


if __name__ == "__main__":
    main()
