"""The glossary is the law: names, help, messages and pages use its words, and none that mean too much."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tracescope import docs
from tracescope.cli import main

PACKAGE = Path(docs.__file__).parents[1]
CONTRACT = "report/contract.py"
#: Words that mean too much to name anything, and what to write instead.
TOO_WIDE = {
    "alike": "similar, equal, or what they have in common",
    "chance": "p_value, probability",
    "found": "what it is: snapshot, attributes, edge, match",
    "freedom": "dof",
    "lost": "missing, malformed, or what happened to it",
    "made": "built, generated, or what it is",
    "middle": "estimate, median, midpoint",
    "own": "self, critical_self",
    "sure": "certain, significant",
    "take": "accept, add, gather",
    "taken": "matched, kept, in_use",
    "told": "note, sentence, verdict",
    "took": "duration",
    "unsure": "uncertain",
    "used": "settings, referenced",
    "wanted": "target, selected, conditions",
}
#: Names of the contract (stored columns, keys of answers), and names that a framework or a protocol gives.
GIVEN = {
    "own_ms", "own_ms_base", "own_ms_head", "own_ns", "lost_requests", "connection_lost",
    "connection_made", "_not_found",
}  # fmt: skip
#: Phrases of the wrong language in help, messages and pages, and the right ones.
PHRASES = {
    r"(?:^|'|\bwhich) ?is no (?!longer\b|more\b|improvement\b)[a-z]": "is not a ..., or: expected ...",
    r"\b[Aa]t most so many\b": "Maximum number of",
    r"\b[Ll]ist so many\b": "Number of ... to list",
    r"\bown time\b|\bown ms\b": "critical self time",
    r"\bspan tags?\b": "attribute",
    r"\bTo be written\b": "what it does",
}


def _identifiers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Names that a reader meets: functions, parameters, classes, fields and constants."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.name
            for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
                yield one.lineno, one.arg
        elif isinstance(node, ast.ClassDef):
            yield node.lineno, node.name
        if isinstance(node, (ast.ClassDef, ast.Module)):
            for statement in node.body:
                targets = statement.targets if isinstance(statement, ast.Assign) else ()
                if isinstance(statement, ast.AnnAssign):
                    targets = (statement.target,)
                yield from ((one.lineno, one.id) for one in targets if isinstance(one, ast.Name))


def words_of(name: str) -> set[str]:
    """``pair_taken`` and ``PairTaken`` are pair and taken."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def too_wide(path: str, source: str) -> list[str]:
    """Names in a module that mean too much, with what to write instead; keys of answers are the contract."""
    names = [(1, Path(path).stem), *_identifiers(ast.parse(source))]
    if path == CONTRACT:
        names = [(line, name) for line, name in names if name != name.lower()]
    return [
        f"{path}:{line} {name}: {TOO_WIDE[word]}"
        for line, name in names
        for word in sorted(words_of(name) & TOO_WIDE.keys())
        if name not in GIVEN
    ]


def wrong_phrases(path: str, texts: Iterator[tuple[int, str]]) -> list[str]:
    """Phrases in texts that are not the glossary's, or not English."""
    return [
        f"{path}:{line} {found[0]!r}: {right}"
        for line, text in texts
        for pattern, right in PHRASES.items()
        if (found := re.search(pattern, text))
    ]


def _messages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """String constants that are no docstrings."""
    described = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    first = (node.body[0] for node in ast.walk(tree) if isinstance(node, described) and node.body)
    docstrings = {id(one.value) for one in first if isinstance(one, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def test_no_name_means_too_much() -> None:
    """Of modules, classes, functions, parameters, fields and constants."""
    broken = [
        line
        for path in sorted(PACKAGE.rglob("*.py"))
        for line in too_wide(path.relative_to(PACKAGE).as_posix(), path.read_text())
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    "source",
    [
        "def f(found): ...",
        "class Taken: ...",
        "class A:\n    own_s: float",
        "MOST_LOST = 3",
        "def told(): ...",
    ],
)
def test_a_name_that_means_too_much_is_seen(source: str) -> None:
    """Wherever it stands; one of the contract is not."""
    assert len(too_wide("module.py", source)) == 1
    assert not too_wide("module.py", "def f(own_ms_base, connection_lost, tokens): ...")


def test_messages_and_pages_speak_the_glossarys_language() -> None:
    """Every text in code that is not a docstring, and every template."""
    broken = [
        line
        for path in sorted(PACKAGE.rglob("*.py"))
        for line in wrong_phrases(path.name, _messages(ast.parse(path.read_text())))
    ]
    for path in sorted((PACKAGE / "report" / "templates").glob("*.html")):
        broken += wrong_phrases(path.name, iter(enumerate(path.read_text().splitlines(), 1)))
    assert not broken, "\n".join(broken)
    samples = [(1, "'abc' is no trace id"), (2, "it is no longer kept")]
    assert [line.split()[0] for line in wrong_phrases("x", iter(samples))] == ["x:1"]


def _commands(command: click.Command) -> Iterator[click.Command]:
    """A command and those in it, which are loaded when they are asked for."""
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if (one := command.get_command(context, name)) is not None:
                yield from _commands(one)


def test_help_speaks_the_glossarys_language() -> None:
    """Of every command and option."""
    texts = [
        (number, text)
        for number, command in enumerate(_commands(main))
        for text in (command.help or "", *(getattr(option, "help", None) or "" for option in command.params))
    ]
    assert len(texts) > 50
    assert not wrong_phrases("help", iter(texts))


def test_every_word_that_a_page_offers_to_explain_is_defined() -> None:
    """``{{ 'headroom'|term }}`` needs its line in the glossary, one line for a word."""
    known = [word.strip() for words in docs.glossary() for word in words.split(",")]
    assert len(known) == len(set(known))
    offered = {
        word
        for path in (PACKAGE / "report" / "templates").glob("*.html")
        for word in re.findall(r"'([^']+)'\|term\b", path.read_text())
    }
    assert offered <= set(known), offered - set(known)
