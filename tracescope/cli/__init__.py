"""The command line: one small module a verb, loaded when it is called.

Data goes to stdout, everything else to stderr.  Exit codes: 0 fine, 1 error, 2 usage, 3 gate failed,
4 insufficient or incomparable data.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import logging
import os
import subprocess
import sys
from typing import Any, Final

import click

from tracescope.errors import UsageError, bounded, translated
from tracescope.near import suggestion
from tracescope.version import __version__
from tracescope.visible import line, lines

#: Verb -> where it lives and one line about it; `tracescope --help` imports nothing else.
VERBS: Final = {
    "diff": ("diff", "Which edges take more of the latency than before, why, and how sure that is."),
    "explain": ("explain", "One edge: why it changed, its load curve, its weeks, who calls it."),
    "forecast": ("forecast", "When each edge hits the wall, and what ten times the users would do."),
    "graph": ("graph", "Who calls whom, how often, and for how much of the clock."),
    "report": ("report", "One self-contained file for an architecture review."),
    "digest": ("digest", "Five lines for a chat: the verdict, the first findings, where to look."),
    "check": ("check", "Hold dependencies against rules; for CI."),
    "path": ("path", "One trace as a waterfall with its critical path."),
    "import": ("import_files", "Read traces from files (OTLP, Jaeger, Zipkin), buckets, Kafka, ClickHouse."),
    "serve": ("serve", "Receive OTLP over gRPC and HTTP, keep it, and show the page."),
    "mcp": ("mcp", "Serve the store to an agent as tools, over standard input and output."),
    "status": ("status", "What the store holds, and what was refused for which reason."),
    "demo": ("demo", "Generate three months of a growing shop, and compare its first month with its last."),
    "mark": ("upkeep", "Name an instant, to be used in periods."),
    "mute": ("mute", "Acknowledge a finding until an instant, with a reason."),
    "prune": ("upkeep", "Remove what retention no longer keeps."),
    "verify": ("upkeep", "Check the files of a store against its checksums, and repair them."),
    "seal": ("engine", "Seal the hours that are over, here or on a cluster."),
    "backfill": ("engine", "Read a lake's table of spans on a Spark cluster."),
    "rebuild": ("upkeep", "Rebuild the rollups from the spans."),
    "warmup": ("upkeep", "Compile the kernels now, so that the first run is quick."),
    "config": ("settings", "Show every setting, its value and where it comes from."),
    "help": ("help", "The manual: glossary, design, decisions, changelog."),
    "completion": ("settings", "Print the shell code that completes commands."),
}


#: New objects between looks for cycles: importing modules makes many of the one and few of the other.
_OBJECTS: Final = 1_000_000


def _say(text: str) -> None:
    click.echo(lines(text), err=True)


class Verbs(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of `VERBS`."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module; its command is named after the verb."""
        if cmd_name not in VERBS:
            return None  # `resolve_command` says what it may have been
        module = importlib.import_module(f"tracescope.cli.{VERBS[cmd_name][0]}")
        return getattr(module, f"{cmd_name}_command")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that is called; of one that is none, what it may have been."""
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            hint = suggestion(args[0], VERBS, "`tracescope --help` lists them all")
            raise UsageError(f"no command {args[0][:60]!r}", hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One line a verb, without importing it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in VERBS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Print what failed and what to do next; nothing a user can cause is a traceback."""
        gc.set_threshold(_OBJECTS)
        atexit.register(gc.freeze)  # the interpreter looks through all objects once more before it ends
        os.environ.setdefault(
            "OPENBLAS_NUM_THREADS", "1"
        )  # its threads wait in a loop, and have nothing to do
        logging.getLogger("tracescope.kernels").addHandler(Compiling())
        try:
            return super().invoke(ctx)
        except click.UsageError as error:  # click prints it, with the words that were typed
            said = error.format_message()
            raise click.UsageError(line(bounded(said)), error.ctx or ctx) from error
        except BrokenPipeError:
            # the reader went away (`| head`): nothing is wrong, and nothing more can be said
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except Exception as error:
            known = translated(error)
            if known is None:
                raise
            _say(f"tracescope: {line(known.message)}")
            if known.hint:
                _say(f"  {known.hint}")
            ctx.exit(known.exit_code)


class Compiling(logging.Handler):
    """Says on a terminal what a first run waits for, and compiles what comes last beside it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say it where somebody waits."""
        if not sys.stderr.isatty():
            return
        _say(f"tracescope: {record.getMessage()}")
        if (os.cpu_count() or 1) > 1:
            subprocess.Popen(
                [sys.executable, "-P", "-m", "tracescope.kernels.ship"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tracescope")
def main() -> None:
    """Which coordination edges of your system take a growing share of latency, and why.

    Start with `tracescope demo`, then `tracescope import FILE...` and `tracescope diff`.
    """
