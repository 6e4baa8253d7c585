"""What every verb needs from the shell: settings, the store, periods, and a console to print on."""

from __future__ import annotations

import gc
import io
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import click

from tracescope import config
from tracescope.errors import InsufficientDataError, UsageError
from tracescope.periods import Context
from tracescope.visible import lines

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from tracescope.session import Answers
    from tracescope.store import SpanStore

#: What ``less`` is told where nobody has told it, as git does: quit when it fits, colours, leave the screen.
_LESS: Final = "FRX"
#: Exit code of a shell that knows no such command.
_NO_SUCH_COMMAND: Final = 127
F = TypeVar("F", bound=Callable[..., Any])
#: What ``--store`` gives: a folder, several of them, or nothing.
Given: TypeAlias = str | tuple[str, ...] | None


#: New objects between looks for cycles, for a process that stays.
_OBJECTS: Final = 50_000


def stay() -> None:
    """Look for cycles of objects as a process must that stays: none of what is loaded goes again."""
    gc.freeze()
    gc.set_threshold(_OBJECTS)


def store_option(function: F) -> F:
    """``--store`` of what works on one."""
    return store_option_of("Folder of the store.")(function)


def stores_option(function: F) -> F:
    """``--store`` of what answers: several are read together."""
    return store_option_of("Folder of the store; given several times, all are read as one.")(function)


def store_option_of(about: str) -> Callable[[F], F]:
    """``--store`` with a help of its own."""
    return click.option("--store", multiple=True, callback=_given_stores, metavar="DIR", help=about)


def _given_stores(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> Given:
    """The store that is given, or all that are; None where none is.  What works on one refuses several."""
    return given[0] if len(given) == 1 else given or None


def zone_option(function: F) -> F:
    """``--tz``."""
    return click.option(
        "--tz", metavar="ZONE", help="Time zone of calendar words and of the hour of the week."
    )(function)


def env_option(function: F) -> F:
    """``--env``."""
    return click.option("--env", metavar="NAME", help="deployment.environment.name; the busiest by default.")(
        function
    )


def output_option(function: F) -> F:
    """``-o``."""
    return click.option(
        "-o",
        "--output",
        type=Output(),
        metavar="FILE",
        help="Write to this file instead of stdout.",
    )(function)


def format_option(*forms: str, default: str = "") -> Callable[[F], F]:
    """``--format``, the first being the default, or what `default` says in words."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(forms),
        default=None if default else forms[0],
        show_default=default or True,
        help="Output format.",
    )


def store_options(function: F) -> F:
    """``--store``, ``--env`` and ``--tz``: which store, and how its periods are read."""
    return stores_option(env_option(zone_option(function)))


def print_options(*forms: str, default: str = "") -> Callable[[F], F]:
    """``--format`` and ``-o``."""
    return lambda function: format_option(*forms, default=default)(output_option(function))


def entry_options(function: F) -> F:
    """``--entry``, ``--include``, ``--exclude``: which entries take part."""
    for flag, about in (
        ("--exclude", "No entries whose operation matches."),
        ("--include", "Only entries whose operation matches."),
        ("--entry", "Only entries whose 'service operation' matches."),
    ):
        function = click.option(flag, metavar="REGEX", help=about)(function)
    return function


def span_options(function: F) -> F:
    """``--where`` and ``--quantile``: which traces; computed from raw spans."""
    function = click.option(
        "--quantile",
        type=Part(),
        metavar="Q",
        help="Only requests slower than this quantile of their entry, such as 0.95: what makes the slowest "
        "5 % slow. Computed from raw spans.",
    )(function)
    return click.option(
        "--where",
        multiple=True,
        metavar="KEY=VALUE",
        help="Only traces in which a span or its resource carries this attribute; may be repeated. "
        "Computed from raw spans, as long as those are kept.",
    )(function)


def question_options(function: F) -> F:
    """What a comparison may be asked for: entries, traces, and how sure one wants to be."""
    function = click.option(
        "--min-effect",
        type=Size(),
        metavar="MS",
        help="Minimum change to test for, in ms per request or message. 0: 0.5 % of BASE's mean latency.",
    )(function)
    function = click.option("--alpha", type=Part(), metavar="Q", help="False discovery rate.")(function)
    return entry_options(span_options(function))


def period_arguments(function: F) -> F:
    """``[BASE] [HEAD]``."""
    return click.argument("base", required=False)(click.argument("head", required=False)(function))


class Output(click.Path):
    """A file to write: what cannot be one is refused before anything is computed for it."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse a folder, a file that may not be written, and one in a folder where none can be made."""
        if not value:
            self.fail("'' names no file", param, ctx)
        found = super().convert(value, param, ctx)
        folder = os.path.dirname(os.path.abspath(found))
        if not os.path.lexists(found):
            if not os.path.isdir(folder):
                self.fail(f"{found!r}: there is no folder {folder!r}", param, ctx)
            if not os.access(folder, os.W_OK | os.X_OK):
                self.fail(f"{found!r}: no file can be made in {folder!r}", param, ctx)
        return found


class Whole(click.IntRange):
    """A whole number, at least so large."""

    name = "whole number"


class Part(click.FloatRange):
    """A number between 0 and 1, both left out."""

    name = "number"

    def __init__(self) -> None:
        super().__init__(0, 1, min_open=True, max_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Refuse what no number is, too: every comparison with NaN is false."""
        return _finite(super().convert(value, param, ctx), value, self, param, ctx)


class Size(click.FloatRange):
    """A finite number that is not below 0."""

    name = "number"

    def __init__(self) -> None:
        super().__init__(0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Refuse what no number is, and infinity."""
        return _finite(super().convert(value, param, ctx), value, self, param, ctx)


def _finite(
    given: float,
    value: Any,
    kind: click.FloatRange,
    param: click.Parameter | None,
    ctx: click.Context | None,
) -> float:
    if not math.isfinite(given):
        kind.fail(f"{value!r} is not a finite number", param, ctx)
    return given


def settings(**flags: Any) -> config.Settings:
    """Settings in force, flags first."""
    return config.load(flags)[0]


def now_ns() -> int:
    """The instant that is now."""
    return time.time_ns()


def ask(in_force: config.Settings, **asked: Any) -> Answers:
    """Answers to a question; what is not asked comes from the settings in force.

    Raises
    ------
    InsufficientDataError
        There is no store.
    """
    from tracescope.engine.question import Question
    from tracescope.session import Session

    existing(*in_force.stores)
    return Session(in_force.stores, in_force, now_ns=now_ns).ask(Question.of(in_force, **asked))


def existing(*paths: str) -> SpanStore:
    """The store to read from, or several as one; an absent one is an empty one.

    Raises
    ------
    InsufficientDataError
        There is none, or one of several is not.
    """
    from tracescope.store.several import open_stores

    for path in paths:
        folder = Path(path)
        if not (folder / "FORMAT.json").exists() and not (folder.is_dir() and any(folder.iterdir())):
            raise InsufficientDataError(
                f"no store at {path}",
                "fill one with `tracescope import FILE` or `tracescope serve`, or look at `tracescope demo`",
            )
    return open_stores(paths)


def context(store: SpanStore, zone: str) -> Context:
    """What words of a period refer to."""
    first, last = store.extent()
    return Context(now_ns(), zone, first, last, store.marks(), store.demo)


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal; without one as wide as COLUMNS, or as needed."""
    from rich.console import Console

    from tracescope.report.text import UNBOUNDED

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else UNBOUNDED
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=False, markup=False, emoji=False)


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Say something on stdout or stderr; names in it may come from traces."""
    click.echo(lines(text), err=err, nl=nl)


def emit(text: str, output: str | None) -> None:
    """Write data to stdout, or to a file."""
    text = text if text.endswith("\n") else text + "\n"
    if output is None:
        echo(text, nl=False)
    else:
        write(lines(text).encode(), output)


def write(data: bytes, output: str) -> None:
    """Write a file whole, or leave what was there: a full disk must not cost the former answer.

    Devices, pipes and files in a folder where none can be made are written in place.
    """
    path = Path(output).resolve()
    new = path.with_name(f".{path.name[:200]}.{os.getpid()}.new")
    in_place = path.exists() and not path.is_file()
    in_place = in_place or not os.access(path.parent, os.W_OK | os.X_OK)
    try:
        if in_place:
            path.write_bytes(data)
            return
        new.write_bytes(data)
        if path.exists():
            shutil.copymode(path, new)
        new.replace(path)
    except OSError as error:
        if not in_place:
            new.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, output) from error


def emit_bytes(data: bytes, output: str | None, what: str) -> None:
    """Write data that is no text to a file, or to stdout where that is no terminal."""
    if output is not None:
        write(data, output)
    elif sys.stdout.isatty():
        raise UsageError(f"a {what} cannot be shown in a terminal", "write it to a file with -o FILE")
    else:
        sys.stdout.buffer.write(data)


class _Seen:
    """What is printed, without anything that a terminal would obey but its styles."""

    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        for segment in console.render(self._inner, options):
            yield Segment(lines(segment.text), segment.style)


def show(renderable: Callable[[int], RenderableType], output: str | None, *, paged: bool = True) -> None:
    """Print something rich, given its width; through a pager where it would not fit a terminal."""
    from rich.console import Console

    from tracescope.report.text import UNBOUNDED

    if output is not None:
        file = io.StringIO()
        plain = Console(file=file, width=UNBOUNDED, no_color=True, highlight=False, markup=False, emoji=False)
        plain.print(_Seen(renderable(UNBOUNDED)))
        write(file.getvalue().encode(), output)
        return
    screen = console()
    made = _Seen(renderable(screen.width))
    if screen.is_terminal and paged and len(screen.render_lines(made)) > screen.height:
        with screen.capture() as printed:
            screen.print(made)
        if _through_pager(printed.get()):
            return
    screen.print(made)


def _through_pager(text: str) -> bool:
    """Show a text in the user's pager, `less` told what the user did not; whether there is a pager."""
    wanted = os.environ.get("MANPAGER") or os.environ.get("PAGER")
    command = wanted or shutil.which("less") or shutil.which("more")
    if command is None:
        return False
    with (
        subprocess.Popen(
            command,
            shell=True,  # as git and man do: it may have arguments
            stdin=subprocess.PIPE,
            env={"LESS": _LESS, **os.environ},
        ) as pager,
        suppress(BrokenPipeError, KeyboardInterrupt),
    ):  # they have seen enough
        pager.communicate(text.encode(errors="backslashreplace"))
    return pager.returncode != _NO_SUCH_COMMAND


def to_json(value: Any) -> str:
    """JSON with two spaces."""
    from tracescope.report import json_bytes

    return json_bytes(value, indented=True).decode()
