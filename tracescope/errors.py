"""One exception tree: what failed, with which value, and the next command.

Every error that a user can cause or meet is a `TracescopeError`.  The command line prints
``message`` and ``hint`` and exits with ``exit_code``, the page and the agent's tools answer with them;
nothing else is ever shown as a traceback on purpose.  What the system or a library refuses becomes one
here, in `translated`: which path, whose it is, and what can be done.
"""

from __future__ import annotations

import errno
import os
import re
import stat

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


#: What stands for the middle of a message that somebody made long; a value may be megabytes of a request.
_LONGEST, _FRONT, _BACK = 2000, 1400, 400


def in_words(error: Exception) -> str:
    """What a library's error means, for a message of ours: none of its class, its numbers or its code."""
    found = of_system(error)
    if found is not None and found.strerror:
        return found.strerror
    match error:
        case UnicodeDecodeError():
            return f"it is not text in UTF-8 (byte {error.start})"
        case UnicodeEncodeError():
            return f"it has half a character (at {error.start})"
        case RecursionError():
            return "it is nested too deeply"
        case MemoryError():
            return "there is not enough memory"
        case KeyError():
            return f"it lacks {error.args[0]!r}"
        case TypeError() | AttributeError() | IndexError():
            return "it is not of the form that was written"
        case _:
            return next(iter(str(error).splitlines()), type(error).__name__)


def translated(error: Exception) -> TracescopeError | None:
    """An error of the system or of a library as one of ours, with what to do next.

    Every surface asks here what an error is that nobody expected where it arose.

    Returns
    -------
    TracescopeError or None
        None for what only a fault of this program can raise.
    """
    match of_system(error) or error:
        case TracescopeError() as ours:
            return ours
        case OSError() as found:
            where = f"{os.fsdecode(found.filename)}: " if isinstance(found.filename, str | bytes) else ""
            return TracescopeError(f"{where}{in_words(found)}", _what_next(found))
        case MemoryError():
            return TracescopeError("there is not enough memory", "give it less to do, or --memory-mb less")
        case _ if _is_polars(error):  # what its files hold
            return TracescopeError(in_words(error), f"free space, and {_VERIFY}")
        case _:
            return None


def sentence(error: Exception) -> str:
    """An error for a log: in our words; of a fault of this program its class and what it says."""
    known = translated(error)
    return f"{type(error).__name__}: {error}" if known is None else str(known)


def of_system(error: Exception) -> OSError | None:
    """What the system said, where it did: polars tells it in words, with the number in them."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    found = _OS_ERROR.search(str(error)) if isinstance(error, OSError) or _is_polars(error) else None
    if found is None:
        return error if isinstance(error, OSError) else None
    number = int(found[1])
    return OSError(number, os.strerror(number), *([found[2]] if found[2] else []))


def refused(error: Exception) -> bool:
    """Whether the system did not let us look: nothing is known of what lies there, least of all damage."""
    found = of_system(error)
    return found is not None and found.errno in _REFUSED


def _is_polars(error: Exception) -> bool:
    return type(error).__module__.startswith("polars.")


_OS_ERROR = re.compile(r"\(os error (\d+)\)(?::\s*(\S.*))?")
#: No right, no room, too many files, a server of files that does not answer.
_REFUSED = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE}
    | {errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT}
)
_VERIFY = "`tracescope verify` tells what of the store is whole"


def _what_next(error: OSError) -> str:
    """What can be done about what the system refused."""
    path = error.filename if isinstance(error.filename, str) else ""
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return _whose(path)
        case errno.EROFS:
            return "nothing can be written there: name a folder on another file system"
        case errno.ENOSPC | errno.EDQUOT:
            return f"make room there (`df {os.path.dirname(path) or '.'}` shows it), or name another place"
        case errno.ENOENT | errno.ENOTDIR | errno.EISDIR | errno.ELOOP | errno.ENAMETOOLONG:
            return "look at the path: " + (_ends_at(path) or "it is not what is wanted there")
        case errno.EMFILE | errno.ENFILE:
            return "let the process open more files: `ulimit -n 65536`"
        case _:
            return f"permissions, free space, and {_VERIFY}"


def _ends_at(path: str) -> str:
    """How far a path can be followed."""
    reached = path
    while reached and not os.path.lexists(reached):
        reached, before = os.path.dirname(reached), reached
        if reached == before:
            return ""
    return f"{reached} is there, and what follows is not" if reached and reached != path else ""


def _whose(path: str) -> str:
    """Who may use what is at `path`; where this user may, it is a folder on the way that refuses."""
    while path:
        try:
            found = os.stat(path)
        except OSError:
            found = None
        wanted = os.R_OK | os.W_OK | (os.X_OK if found is not None and stat.S_ISDIR(found.st_mode) else 0)
        if found is None or os.access(path, wanted):
            path, before = os.path.dirname(path), path
            if path == before:
                break
            continue
        mode, user = f"{stat.S_IMODE(found.st_mode):04o}", os.geteuid()
        if found.st_uid == user:
            return f"{path} has mode {mode}: `chmod u+rwX {path}`, or name another place"
        return (
            f"{path} belongs to user {found.st_uid}, with mode {mode}; "
            f"run as that user, or let user {user} use it"
        )
    return "let this user use it, or name another place"


def bounded(text: str) -> str:
    """`text` without its middle where it is long."""
    left_out = len(text) - _FRONT - _BACK
    return text if len(text) <= _LONGEST else f"{text[:_FRONT]}… {left_out} characters …{text[-_BACK:]}"


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
        self.message = bounded(message)
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
