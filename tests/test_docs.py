"""README and manual name every setting, command and exit code there is, and none that there is not."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import click
from click.testing import CliRunner

import tracescope
from tracescope import config, docs, errors
from tracescope.cli import VERBS, main
from tracescope.conventions import semconv
from tracescope.periods import WORDS

ROOT = Path(__file__).parents[1]
README = "\n".join([(ROOT / "README.md").read_text(), *map(docs.read, docs.TOPICS)])


def commands() -> dict[str, click.Command]:
    """Verb -> command; a group's own commands too, as ``config show``."""
    context = click.Context(main)
    out: dict[str, click.Command] = {}
    for verb in VERBS:
        command = main.get_command(context, verb)
        assert command is not None
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                out[f"{verb} {name}"] = inner
        else:
            out[verb] = command
    return out


def documented_commands() -> set[str]:
    """First words of the rows of the table of commands."""
    rows = re.findall(r"^\| `tracescope ([a-z]+(?: [a-z]+)*)", README, re.MULTILINE)
    return set(rows)


def test_every_command_is_documented_and_every_documented_one_exists() -> None:
    """The table of commands."""
    assert documented_commands() == set(commands())


def test_every_setting_is_documented_with_its_meaning_and_every_documented_one_exists() -> None:
    """The table of settings."""
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| .*? \| (.*?) \|$", README, re.MULTILINE))
    assert rows == config.documentation()


def test_documented_defaults_are_the_defaults() -> None:
    """Where they do not depend on the machine."""
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.*?) \|", README, re.MULTILINE))
    for field in fields(config.Settings):
        if field.name in ("store", "mirrors", "tz", "workers"):
            continue
        shown = rows[field.name].strip("`")
        default = getattr(config.Settings(), field.name)
        assert shown == (str(default) if default not in ("", {}, ()) else "none"), field.name


def test_every_exit_code_is_documented_and_every_documented_one_exists() -> None:
    """0 and 3 are no errors; the others belong to an exception each."""
    line = re.search(r"^Exit codes: (.*)\.$", README, re.MULTILINE)
    assert line is not None
    documented = {int(code) for code in re.findall(r"\b(\d) ", line[1])}
    raised = {getattr(errors, name).exit_code for name in errors.__all__}
    assert documented == {0, 3} | raised


def test_every_word_of_a_period_is_documented() -> None:
    """And every documented one is a word."""
    start = README.index("Periods: ")
    named = set(
        re.findall(r"`([a-z]+-[a-z]+|all|today|yesterday)`", README[start : README.index("\n\n", start)])
    )
    assert named == set(WORDS)


def test_every_option_in_the_readme_exists() -> None:
    """An option that was renamed must not live on in the text."""
    known = {"--help", "--version"}
    for command in commands().values():
        for parameter in command.params:
            known |= {*parameter.opts, *parameter.secondary_opts}
    of_others = {"--upgrade", "--no-compile", "--rm", "--config"}  # pip's, docker's and the Collector's
    option, text = re.compile(r"(?<![\w-])--[a-z][a-z-]+"), README
    for code, name in re.findall(r"`(python -m benchmarks\.(\w+)[^`]*)`", README):
        source = (ROOT / "benchmarks" / f"{name}.py").read_text()
        assert all(f'"{one}"' in source for one in option.findall(code)), code
        text = text.replace(code, "")
    assert set(option.findall(text)) - of_others <= known


def test_every_package_that_is_installed_is_listed_with_what_it_costs() -> None:
    """The table of dependencies, and the extras; none that is not needed any more."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.match(r"[a-z0-9.-]+", line)[0] for line in project["dependencies"]}  # pyright: ignore
    section = docs.read("install")
    rows = re.findall(r"^\| ([a-z][^|]*) \| (\d+) \| (\d+) \|", section, re.MULTILINE)
    listed = {name for first, *_ in rows for name in re.findall(r"[a-z0-9.-]+", first)} - {"with"}
    brought = {"llvmlite", "pygments"}  # by numba and rich
    assert listed - brought - {"package"} == wanted
    extras = set(project["optional-dependencies"]) - {"test", "dev"}
    assert extras == set(re.findall(r"`([a-z-]+)`", section.partition("Extras:")[2].partition("\n\n")[0]))


def test_every_attribute_that_is_read_is_listed_and_every_listed_one_is_read() -> None:
    """The tables of conventions, meaning by meaning."""
    rows = re.findall(r"^\| ([a-z0-9 ]+) \| (`[^|]+`) \|$", docs.read("formats"), re.MULTILINE)
    listed = {meaning.replace(" ", "_"): tuple(re.findall(r"`([^`]+)`", names)) for meaning, names in rows}
    assert listed == {**semconv.SPAN_ATTRIBUTES, **semconv.RESOURCE_ATTRIBUTES}


def test_the_readme_quotes_what_the_demo_prints(tmp_path: Path) -> None:
    """The headline and every finding, word for word; figures move with the day on which it is run."""
    quoted = re.search(r"```text\n(.+?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert quoted is not None
    told = [line for line in quoted[1].splitlines() if re.match(r"at the wall:|\d\. ", line)]
    done = CliRunner().invoke(main, ["demo", "--store", str(tmp_path / "demo")])
    assert done.exit_code == 0, done.output
    assert len(told) > 2
    printed = re.sub(r"[\d.,]+", "#", " ".join(done.stdout.split()))
    for line in told:
        assert re.sub(r"[\d.,]+", "#", line) in printed, line


def test_the_readme_is_short() -> None:
    """What is long stands in the manual."""
    assert len((ROOT / "README.md").read_text().splitlines()) < 140


def test_every_name_of_the_public_api_is_documented() -> None:
    """In the table of the page on formats."""
    table = docs.read("formats").partition("| name of `tracescope` |")[2].partition("\n\n")[0]
    named = set(re.findall(r"\w+", table))
    assert not set(tracescope.__all__) - named
