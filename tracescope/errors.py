"""One exception tree: what failed, with which value, and the next command.

Every error that a user can cause or meet is a `TracescopeError`.  The command line prints
``message`` and ``hint`` and exits with ``exit_code``; nothing else is ever shown as a traceback
on purpose.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "DamagedFileError",
    "GateFailedError",
    "IncomparableError",
    "InputError",
    "InsufficientDataError",
    "KernelError",
    "MalformedOtlpError",
    "NewerFormatError",
    "OverloadedError",
    "PeriodError",
    "SourceError",
    "StoreBusyError",
    "StoreError",
    "TooLargeError",
    "TracescopeError",
    "UsageError",
]


def in_words(error: Exception) -> str:
    """What a library's error means, for a message of ours: none of its class, its numbers or its code."""
    match error:
        case OSError() if error.strerror:
            return error.strerror
        case UnicodeDecodeError():
            return f"it is not text in UTF-8 (byte {error.start})"
        case KeyError():
            return f"it lacks {error.args[0]!r}"
        case TypeError() | AttributeError() | IndexError():
            return "it is not of the form that was written"
        case _:
            return str(error)


class TracescopeError(Exception):
    """Base of all errors; exit code 1 unless a subclass says otherwise.

    Parameters
    ----------
    message
        One sentence: what failed and with which value.
    hint
        The next thing to do, preferably a command; None where there is none.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message} ({self.hint})"


class UsageError(TracescopeError):
    """The command or call cannot be understood; exit code 2."""

    exit_code = 2


class PeriodError(UsageError):
    """A period such as ``last-month`` cannot be read, or is empty by construction."""


class ConfigError(UsageError):
    """An unknown or ill-typed setting, with the file or variable it came from."""


class InputError(TracescopeError):
    """A file or stream that cannot be read as what it claims to be (file, line or offset)."""


class SourceError(InputError):
    """Something else than traces, or a place that is not read; exit code 2."""

    exit_code = 2


class MalformedOtlpError(InputError):
    """OTLP bytes that break the protobuf wire format.

    Parameters
    ----------
    offset
        Byte offset of the first thing that could not be read.
    expected
        What should have stood there.

    Attributes
    ----------
    payload
        Number of the message, where several were read together.
    """

    payload = 0

    def __init__(self, offset: int, expected: str, hint: str | None = None) -> None:
        super().__init__(f"malformed OTLP at byte {offset}: expected {expected}", hint)
        self.offset = offset
        self.expected = expected


class TooLargeError(InputError):
    """A request beyond the size limit, as sent or once inflated; sending it again cannot help."""


class OverloadedError(TracescopeError):
    """Nothing is wrong with the request, but it cannot be kept now; it should be sent again.

    Parameters
    ----------
    retry_after_s
        When to.
    """

    def __init__(self, message: str, retry_after_s: float, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after_s = retry_after_s


class KernelError(TracescopeError):
    """A compiled kernel refused its input: a table would pass its cap."""


class StoreError(TracescopeError):
    """The store is missing, damaged, or written by a newer version."""


class DamagedFileError(StoreError):
    """A file of the store is not what was written."""


class NewerFormatError(StoreError):
    """A file of the store was written by a newer version."""


class StoreBusyError(StoreError):
    """Another process holds the sealing lock."""


class GateFailedError(TracescopeError):
    """A condition of ``--fail-on`` or of a rules file is met; exit code 3."""

    exit_code = 3


class InsufficientDataError(TracescopeError):
    """Too little data for an honest answer; exit code 4."""

    exit_code = 4


class IncomparableError(InsufficientDataError):
    """The two periods cannot be compared, and the message says why; exit code 4."""
