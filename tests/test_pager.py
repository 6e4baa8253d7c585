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
    said = on_a_terminal('echo "told <$LESS>"; cat >/dev/null', {} if given is None else {"LESS": given})
    assert f"told <{told}>" in said


def test_an_answer_is_printed_where_the_pager_is_not_there() -> None:
    """The shell says that there is none, and what was asked for comes all the same."""
    said = on_a_terminal("/nowhere/less -R", {})
    assert "not found" in said
    assert "Glossary" in said


def test_a_pager_that_ends_early_is_no_error() -> None:
    """Whoever quits has seen enough."""
    assert "enough" in on_a_terminal("echo enough", {})


def on_a_terminal(pager: str, more: dict[str, str]) -> str:
    """What is seen of a long answer on a terminal of five lines; fails where the command does."""
    environment = {name: value for name, value in os.environ.items() if name not in {"LESS", "MANPAGER"}}
    environment |= {"PAGER": pager, "LINES": "5", "COLUMNS": "80", "TERM": "xterm"} | more
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
    return said.decode()
