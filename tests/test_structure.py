"""The house keeps its shape: functions that fit on a page, kernels that take records."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from processes import ROOT

PACKAGE = ROOT / "tracescope"
MOST_LINES, MOST_PARAMETERS = 60, 10

#: Lists of things alike, one after the other: instruments, and tools with their descriptions.
LONG = {"ingest/meters.py __init__", "mcp.py make_server"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions(below: str) -> Iterator[tuple[str, Function]]:
    for path in sorted((PACKAGE / below).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, Function):
                yield f"{path.relative_to(PACKAGE)} {node.name}", node


def _lines(function: Function) -> int:
    """Lines of a body, its docstring not counted."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_no_function_is_longer_than_a_page() -> None:
    """Whoever reads one sees all of it; those named as exceptions are still longer."""
    assert {name for name, each in _functions("") if _lines(each) > MOST_LINES} == LONG


def test_a_kernel_takes_few_arguments() -> None:
    """Columns that belong together travel as one record of arrays."""
    many = {
        name: count
        for name, each in _functions("kernels")
        if (count := len(each.args.posonlyargs + each.args.args + each.args.kwonlyargs)) > MOST_PARAMETERS
    }
    assert many == {}
