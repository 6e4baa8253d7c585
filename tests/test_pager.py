"""What a terminal that is too low for an answer does with it: a real pager on a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("given", "told"), [(None, "FRX"), ("-S", "-S"), ("", "")])
def test_less_is_told_to_quit_and_colour_unless_it_was_told_otherwise(given: str | None, told: str) -> None:
    """As git does: what the user has set stays, even where it is empty."""
    environment = {name: value for name, value in os.environ.items() if name not in {"LESS", "MANPAGER"}}
    environment |= {
        "PAGER": 'echo "told <$LESS>"; cat >/dev/null',
        "LINES": "5",
        "COLUMNS": "80",
        "TERM": "xterm",
    }
    environment |= {} if given is None else {"LESS": given}
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "tracescope", "help", "glossary"]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        said = b""
        try:
            while part := os.read(master, 65536):
                said += part
        except OSError:  # Linux says so when the last that held the other end has gone
            pass
        os.close(master)
        assert process.wait(timeout=60) == 0, said
    assert f"told <{told}>" in said.decode()
