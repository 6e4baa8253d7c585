"""The manual: a page a topic, read by `tracescope help`, by the web page and by people."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from tracescope.errors import UsageError
from tracescope.near import suggestion

#: Topic -> one line about it.
TOPICS: Final = {
    "commands": "Every command, periods, gates, exit codes.",
    "formats": "Trace files that are read, and the fields of the JSON answers.",
    "recipes": "Traces out of other people's stores: ClickHouse, by import and by hand, and Kafka.",
    "settings": "Every setting, and what is kept of attributes.",
    "method": "How it tells, and what was measured.",
    "glossary": "What the words of answers mean.",
    "design": "What is computed and why so: critical path, rollups, diff, load, storage.",
    "install": "What is installed, and its size.",
    "decisions": "What was decided, what spoke for it, what it costs.",
    "changelog": "What changed, version by version.",
}


def read(topic: str) -> str:
    """A page as Markdown.

    Raises
    ------
    UsageError
        There is no such topic.
    """
    if topic not in TOPICS:
        raise UsageError(f"no topic {topic!r}", suggestion(topic, TOPICS, f"one of {', '.join(TOPICS)}"))
    return files(__name__).joinpath(f"{topic}.md").read_text(encoding="utf-8")


def glossary() -> dict[str, str]:
    """Word -> what it means."""
    rows = [line.split("|")[1:3] for line in read("glossary").splitlines() if line.startswith("| ")]
    return {word.strip(): meaning.strip() for word, meaning in rows[1:]}
