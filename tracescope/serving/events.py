"""One line an event, in logfmt or JSON, on stderr."""

from __future__ import annotations

import logging
import sys
import threading
from collections import Counter
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

import orjson

from tracescope.visible import json_text

Form = Literal["logfmt", "json"]
#: Lines of the same words that libraries may log in a minute.
LIKE_LINES: Final = 10
Value = str | int | float | bool | None


class Events:
    """Writes events; safe to call from any thread.

    Parameters
    ----------
    form
        ``logfmt`` or ``json``.
    stream
        Where to; stderr by default.
    """

    def __init__(self, form: Form = "logfmt", stream: TextIO | None = None) -> None:
        self._form = form
        self._stream = stream or sys.stderr
        self._lock = threading.Lock()

    def __call__(self, event: str, *, level: str = "info", **fields: Value) -> None:
        """Write one line.

        Parameters
        ----------
        event
            What happened, a past participle or a short noun: the same words every time.
        level
            ``info``, ``warning`` or ``error``.
        fields
            With which values; units last in names.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        record: dict[str, Value] = {"time": now, "level": level, "event": event, **fields}
        line = json_text(orjson.dumps(record).decode()) if self._form == "json" else logfmt(record)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()

    def adopt_logging(self) -> None:
        """Turn what libraries log from warnings up into events too."""
        root = logging.getLogger()
        root.handlers[:] = [_Handler(self)]
        root.setLevel(logging.WARNING)


class _Handler(logging.Handler):
    """Writes what libraries log; the same words at most `LIKE_LINES` times a minute."""

    def __init__(self, events: Events) -> None:
        super().__init__(logging.WARNING)
        self._events = events
        self._minute = 0
        self._said: Counter[tuple[str, str]] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        words = record.name, str(record.msg)[:80]
        if (minute := int(record.created // 60)) != self._minute:
            for (name, _), count in self._said.items():
                if count > LIKE_LINES:
                    self._events("log_repeated", level="warning", logger=name, left_out=count - LIKE_LINES)
            self._minute = minute
            self._said.clear()
        self._said[words] += 1
        if self._said[words] > LIKE_LINES:
            return
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        self._events("log", level=record.levelname.lower(), logger=record.name, message=text)


def logfmt(record: dict[str, Value]) -> str:
    """``key=value`` pairs; values with blanks, quotes or equals signs are quoted as in JSON."""
    return " ".join(f"{key}={_value(value)}" for key, value in record.items())


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = "" if value is None else str(value)
    if text and text.isprintable() and not any(c in text for c in ' "=\\'):
        return text
    return json_text(orjson.dumps(text).decode())
