"""Which changes of the code no test notices: sampled mutants of a module against the tests that know it.

    python -m benchmarks.mutation [--modules significance,forecast] [--samples 30] [--seed 1] [--only jackknife]

A mutant is the module with one operator, constant or branch changed, on a line that its tests execute.  It
lives in memory only, in a process of its own that runs the tests until one fails.  A mutant is killed when
a test fails, when the module does not load any more, and when the tests take `SLOWER` times as much of the
processor as without it, or far more memory.  Kernels are interpreted (`interpreted`).  Printed are the mutants that survive, and for each module

    killed / tried    of the sampled mutants
    equivalent        survivors that `equivalent_mutants` lists, with the reason why no test can kill them

Source: DeMillo, Lipton & Sayward, "Hints on test data selection", Computer 11, 1978; Offutt et al., "An
experimental determination of sufficient mutant operators", TOSEM 5, 1996.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import math
import os
import random
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.equivalent_mutants import EQUIVALENT
from benchmarks.interpreted import interpret

ROOT = Path(__file__).resolve().parent.parent
#: A mutant whose tests take so many times as long is one that loops.
SLOWER, LEAST_S = 4.0, 6.0
#: A mutant that asks for more memory is one that grows without end.
MOST_BYTES = 4 << 30

#: Modules and the tests that know them, fast ones first; kernels are interpreted.
MODULES = {
    "significance": ("analysis.statistics.significance", "significance_laws significance"),
    "ranks": ("analysis.statistics.rank_statistics", "ranks"),
    "curve": ("analysis.capacity.curve", "curve_laws load_laws load_model"),
    "load": ("analysis.capacity.load_model", "fit_laws load_laws load_model"),
    "arrivals": ("analysis.capacity.arrivals", "arrival_laws arrivals load_laws load_model"),
    "growth": ("analysis.capacity.split", "split_laws split load_model"),
    "forecast": ("analysis.capacity.forecast", "forecast_by_hand forecast_laws forecast"),
    "changes": ("analysis.evidence.change_points", "change_laws"),
    "patterns": ("analysis.evidence.patterns", "pattern_laws pattern_rules patterns"),
    "decompose": ("analysis.comparison.decompose", "decompose_laws decomposition"),
    "entries": ("analysis.comparison.entries", "entries_laws"),
    "routing": ("analysis.comparison.routing", "routing_laws routing"),
    "failures": ("analysis.comparison.failures", "failures_laws failures"),
    "attribution": ("analysis.attribution.findings", "attribution_laws attribution"),
    "matched": ("analysis.comparison.matched", "matched_laws"),
    "graph": ("analysis.topology.graph", "graph"),
    "backbone": ("analysis.topology.backbone", "backbone"),
    "review": ("analysis.topology.findings", "findings"),
    "rules": ("analysis.topology.rules", "rules_laws check"),
    "courses": ("analysis.attribution.courses", "courses_laws"),
    "holders": ("analysis.attribution.holders", "courses_laws"),
    "consumers": ("analysis.attribution.consumers", "courses_laws attribution"),
    "missing_callees": ("analysis.comparison.missing_callees", "missing_callees_laws"),
    "failed_findings": ("analysis.attribution.failures", "attribution_laws"),
    "order": ("analysis.comparison.ranks", "order_laws"),
    "groups": ("analysis.comparison.entry_groups", "order_laws entry_groups"),
    "edges": ("analysis.comparison.edges", "edges_laws decomposition"),
    "slowest": ("analysis.comparison.slowest", "slowest_laws"),
    "aggregate": ("analysis.comparison.aggregate", "aggregate_laws alike"),
    "ladder": ("analysis.attribution.ladder", "ladder_laws attribution"),
    "effects": ("analysis.comparison.effects", "effects_laws transient decomposition routing"),
    "rates": ("analysis.statistics.rates", "rates failure_trends failures"),
    "distributions": ("analysis.statistics.distributions", "distributions"),
    "robust_fit": ("analysis.statistics.robust_fit", "robust_fit"),
    "tail": ("analysis.comparison.tail", "tail_laws tail"),
    "carriers": ("analysis.comparison.carriers", "carriers_laws carriers"),
    "standing": ("analysis.comparison.standing", "standing"),
    "overlap": ("analysis.comparison.overlap", "overlap_laws overlap"),
    "backlog": ("analysis.capacity.backlog", "backlog_laws backlog"),
    "walls": ("analysis.capacity.walls", "wall_laws forecast_laws"),
    "entry_clock": ("analysis.capacity.entry_clock", "wall_laws forecast_laws"),
    "edge_walls": ("analysis.capacity.edge_walls", "edge_walls split"),
    "trends": ("analysis.capacity.trends", "trend_laws"),
    "levels": ("analysis.capacity.levels", "trend_laws"),
    "early_warning": ("analysis.capacity.early_warning", "outlook_laws forecast"),
    "failure_trends": ("analysis.capacity.failure_trends", "outlook_laws failure_trends"),
    "outlook": ("analysis.capacity.forecast_verdict", "outlook_laws forecast"),
    "bins": ("analysis.statistics.sketch", "bins"),
    "offered": ("analysis.capacity.offered", "offered_laws offered"),
    "series": ("analysis.evidence.series", "series_laws series"),
    "blocks": ("analysis.statistics.blocks", "blocks"),
    "starved": ("analysis.comparison.starved", "starved_laws starved"),
    "verdict": ("analysis.verdict", "verdict"),
    "gate": ("analysis.gate", "gate"),
    "sketch": ("kernels.sketch", "small_kernels"),
    "tally": ("kernels.tally", "small_kernels"),
    "walk": ("kernels.walk", "walk_laws"),
    "skew": ("kernels.skew", "forest_laws"),
    "units": ("kernels.units", "forest_laws"),
    "roles": ("kernels.roles", "forest_laws"),
    "traces": ("kernels.traces", "trace_groups"),
    "sidecars": ("kernels.sidecars", "forest_laws"),
    "forest": ("kernels.forest", "forest_laws"),
    "rollup": ("kernels.rollup", "rollup_laws"),
    "octets": ("kernels.octets", "octets"),
    "json_text": ("kernels.json_text", "plain_json_laws"),
    "plain_json": ("kernels.plain_json", "plain_json_laws"),
    "outline": ("kernels.outline", "outline"),
    "weave": ("kernels.weave", "weave"),
    "wire_requests": ("kernels.wire.requests", "wire_laws"),
    "wire_spans": ("kernels.wire.spans", "wire_laws"),
    "wire_keys": ("kernels.wire.keys", "wire_laws"),
    "wire_values": ("kernels.wire.values", "wire_laws"),
    "wire_strings": ("kernels.wire.strings", "wire_laws"),
    "trace_state": ("kernels.wire.trace_state", "wire_laws"),
    "plain_jaeger": ("kernels.plain_jaeger", "foreign_laws"),
    "plain_zipkin": ("kernels.plain_zipkin", "foreign_laws"),
    "zipkin_v1": ("kernels.zipkin_v1", "foreign_laws"),
    "json_groups": ("kernels.json_groups", "foreign_laws"),
}


_COMPARE = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
_BINARY = {
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult,), ast.Pow: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,), ast.Mod: (ast.FloorDiv,), ast.BitAnd: (ast.BitOr,), ast.BitOr: (ast.BitAnd,),
    ast.LShift: (ast.RShift,), ast.RShift: (ast.LShift,),
}  # fmt: skip
_CALLS = {
    "max": "min", "min": "max", "maximum": "minimum", "minimum": "maximum", "any": "all", "all": "any",
    "ceil": "floor", "floor": "ceil", "argmax": "argmin", "argmin": "argmax", "first": "last", "mean": "sum",
    "log": "exp", "exp": "log", "sqrt": "exp", "quantile": "max", "abs": "float",
}  # fmt: skip
#: Numbers beyond these bounds are guards against division by zero or overflow, not choices.
SMALLEST, LARGEST = 1e-6, 1e6
#: Characters of a mutant's text on either side of the arrow; of longer ones is told what is around the change.
WIDEST = 90


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: of the node that `ast.walk` gives at `node`, in the way number `way`."""

    node: int
    way: int
    line: int
    place: str  #: qualified name of the function that it is in; empty outside of functions
    text: str


def _ways(node: ast.AST) -> list[Callable[[Any], None]]:
    """What may be changed about a node; each changes it in place."""

    def put(name: str, value: Any) -> Callable[[Any], None]:
        return lambda one: setattr(one, name, value)

    match node:
        case ast.Compare(ops=ops):

            def swap(at: int, op: type[ast.cmpop]) -> Callable[[Any], None]:
                return lambda one: one.ops.__setitem__(at, op())

            return [swap(at, other) for at, op in enumerate(ops) for other in _COMPARE[type(op)]]
        case ast.BinOp(op=op) | ast.AugAssign(op=op):
            return [put("op", other()) for other in _BINARY.get(type(op), ())]
        case ast.BoolOp(op=op):
            return [put("op", ast.And() if isinstance(op, ast.Or) else ast.Or())]
        case ast.UnaryOp(op=ast.USub()):
            return [put("op", ast.UAdd())]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return [put("operand", ast.UnaryOp(ast.Not(), operand))]
        case ast.Constant(value=bool(value)):
            return [put("value", not value)]
        case ast.Constant(value=int(value)) if value <= LARGEST:
            return [put("value", value + 1), put("value", value - 1)]
        case ast.Constant(value=float(value)) if SMALLEST <= abs(value) <= LARGEST or value == 0:
            return [put("value", value * 2 + (value == 0)), put("value", value / 2 - (value == 0))]
        case ast.If() | ast.IfExp() | ast.While():
            ways = [put("test", ast.Constant(False))]
            return ways if isinstance(node, ast.While) else [put("test", ast.Constant(True)), *ways]
        case ast.Call(func=ast.Name(id=name)) if name in _CALLS:
            return [lambda one: setattr(one.func, "id", _CALLS[name])]
        case ast.Call(func=ast.Attribute(attr=name)) if name in _CALLS:
            return [lambda one: setattr(one.func, "attr", _CALLS[name])]
        case _:
            return []


def _silent(tree: ast.Module) -> set[int]:
    """Nodes that do nothing at run time: annotations, decorators, docstrings, class headers."""
    out: set[int] = set()

    def hide(node: ast.AST | None) -> None:
        if node is not None:
            out.update(id(inner) for inner in ast.walk(node))

    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            hide(node.annotation)
        if isinstance(node, ast.arg):
            hide(node.annotation)
        if isinstance(node, ast.FunctionDef):
            hide(node.returns)
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            for decorator in node.decorator_list:
                hide(decorator)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            hide(node)
        if isinstance(node, ast.Assert):
            hide(node)
        if isinstance(node, ast.keyword) and node.arg == "strict":
            hide(node)  # of zip: a guard as an assertion is
    return out


def _around(tree: ast.Module) -> tuple[dict[int, str], dict[int, ast.AST]]:
    """By a node's id: the qualified name of the function or class that it is in, and the node around it."""
    places: dict[int, str] = {}
    parents: dict[int, ast.AST] = {}
    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        node, place = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            place = f"{place}.{node.name}" if place else node.name
        places[id(node)] = place
        for inner in ast.iter_child_nodes(node):
            parents[id(inner)] = node
            waiting.append((inner, place))
    return places, parents


def _named(node: ast.AST, parents: dict[int, ast.AST], change: Callable[[Any], None]) -> str:
    """What a change of a node makes of it, in words; of a constant, with what it is a part of."""
    shown = node
    while isinstance(shown, ast.Constant | ast.UnaryOp | ast.keyword) and isinstance(node, ast.Constant):
        shown = parents[id(shown)]
    both = copy.deepcopy((shown, node))  # together: what is one in the other stays so
    change(both[1])
    before, after = (ast.unparse(one).splitlines()[0] for one in (shown, both[0]))
    if max(len(before), len(after)) > WIDEST:
        differ = next(k for k, (one, other) in enumerate(zip(before, after, strict=False)) if one != other)
        begin = max(differ - WIDEST // 3, 0)
        before, after = (text[begin:][: WIDEST // 3 * 2] for text in (before, after))
    return f"{before} => {after}"


def mutants(source: str, lines: set[int] | None) -> list[Mutant]:
    """All mutants of a module on some lines; None: on any."""
    tree = ast.parse(source)
    silent, (places, parents) = _silent(tree), _around(tree)
    out: list[Mutant] = []
    for number, node in enumerate(ast.walk(tree)):
        line = getattr(node, "lineno", 0)
        if id(node) in silent or not line or (lines is not None and line not in lines):
            continue
        for way, change in enumerate(_ways(node)):
            out.append(Mutant(number, way, line, places[id(node)], _named(node, parents, change)))
    return out


def mutated(source: str, node: int, way: int) -> ast.Module:
    """The tree with one mutation."""
    tree = ast.parse(source)
    chosen = next(found for number, found in enumerate(ast.walk(tree)) if number == node)
    _ways(chosen)[way](chosen)
    return ast.fix_missing_locations(tree)


class Replaced(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Loads one module from a changed tree."""

    def __init__(self, module: str, path: Path, tree: ast.Module) -> None:
        super().__init__(module, str(path))
        self.module, self.tree = module, tree

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """Of the module only."""
        return (
            importlib.util.spec_from_file_location(fullname, self.path, loader=self)
            if fullname == self.module
            else None
        )

    def get_code(self, fullname: str) -> Any:
        """Of the changed tree."""
        return compile(self.tree, self.path, "exec")


def _in_child(work: Callable[[], int], limit_s: float) -> int | None:
    """What `work` gives in a forked process that may use so much of the processor; None when it hangs."""
    child = os.fork()
    if child == 0:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit_s), math.ceil(limit_s)))
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
        code = 99
        try:
            code = work()
        except Exception:  # noqa: BLE001 - whatever it is, this process ends here and says why
            traceback.print_exc()
        finally:
            os._exit(code)
    until = time.monotonic() + 10 * limit_s  # others may use the processor as well
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(0.02)


def _tests(names: str) -> list[str]:
    return [str(ROOT / "tests" / f"test_{name}.py") for name in names.split()]


def _run(tests: list[str], log: Path) -> int:
    import hypothesis
    import pytest

    # a failure counts, whatever the smallest example of it is
    hypothesis.settings.register_profile(
        "once", phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate)
    )
    hypothesis.settings.load_profile("once")
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        code = int(
            pytest.main(
                ["-x", "-q", "-p", "no:cacheprovider", "--assert=plain", "--hypothesis-seed=0", *tests]
            )
        )
        sys.stdout.flush()
        return code


def covered(path: Path, tests: list[str], work: Path, plain: bool) -> set[int]:
    """Lines of a module that its tests execute, kernels interpreted if `plain`; raises when they fail."""
    found = work / "lines"

    def traced() -> int:
        lines: set[int] = set()

        def inside(frame: FrameType, event: str, _: Any) -> Any:
            lines.add(frame.f_lineno)
            return inside

        def entered(frame: FrameType, event: str, _: Any) -> Any:
            if frame.f_code.co_filename != str(path):
                return None
            lines.add(frame.f_lineno)
            return inside

        if plain:
            interpret()
        threading.settrace(entered)
        sys.settrace(entered)
        code = _run(tests, work / "log")
        sys.settrace(None)
        found.write_text(" ".join(map(str, sorted(lines))))
        return code

    if _in_child(traced, 900.0) != 0:
        raise RuntimeError(
            f"the tests of {path} fail without a mutant:\n{(work / 'log').read_text()[-3000:]}"
        )
    return set(map(int, found.read_text().split()))


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which mutants of a module: so many, drawn so, of functions whose qualified names begin so."""

    samples: int
    seed: int
    only: str = ""


@dataclass
class Tally:
    """Of one module."""

    tried: int = 0
    killed: int = 0
    equivalent: int = 0
    seconds: float = 0.0


def judge(name: str, chosen: Chosen, work: Path) -> Iterator[tuple[Mutant, str]]:
    """Sampled mutants of a module, each with what became of it: killed, survived or equivalent."""
    module, names = f"tracescope.{MODULES[name][0]}", _tests(MODULES[name][1])
    path = ROOT / (module.replace(".", "/") + ".py")
    source = path.read_text()
    plain = ".kernels." in module
    lines = covered(path, names, work, plain)
    begin = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime

    def without() -> int:
        if plain:
            interpret()
        return _run(names, work / "log")

    if _in_child(without, 900.0) != 0:
        raise RuntimeError(
            f"the tests of {name} fail without a mutant:\n{(work / 'log').read_text()[-3000:]}"
        )
    limit_s = max(SLOWER * (resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - begin), LEAST_S)
    every = [mutant for mutant in mutants(source, lines) if mutant.place.startswith(chosen.only)]
    sample = random.Random(chosen.seed).sample(every, min(chosen.samples, len(every)))
    for mutant in sorted(sample, key=lambda m: m.line):
        tree = mutated(source, mutant.node, mutant.way)

        def with_mutant(tree: ast.Module = tree) -> int:
            if plain:
                interpret()
            sys.meta_path.insert(0, Replaced(module, path, tree))
            return _run(names, work / "log")

        code = _in_child(with_mutant, limit_s)
        if code != 0:
            yield mutant, "killed"
        else:
            yield mutant, "equivalent" if (name, mutant.place, mutant.text) in EQUIVALENT else "survived"


def main() -> None:
    """Print survivors, and a line for each module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modules", default=",".join(MODULES))
    parser.add_argument("--samples", type=int, default=30, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="of functions whose qualified names begin so")
    arguments = parser.parse_args()
    chosen = Chosen(arguments.samples, arguments.seed, arguments.only)
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    for heavy in (
        "numba",
        "polars",
        "scipy.stats",
        "scipy.optimize",
        "hypothesis",
        "pytest",
        "networkx",
    ):
        importlib.import_module(heavy)  # loaded once, for all processes
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = folder
        for name in arguments.modules.split(","):
            tally, begin = Tally(), time.monotonic()
            for mutant, fate in judge(name, chosen, Path(folder)):
                tally.tried += 1
                tally.killed += fate == "killed"
                tally.equivalent += fate == "equivalent"
                if fate != "killed":
                    print(f"  {fate:10} {name}:{mutant.line} {mutant.place}  {mutant.text}", flush=True)
            alive = tally.tried - tally.equivalent
            print(
                f"{name:14} {tally.killed:3d} / {tally.tried:3d} killed, {tally.equivalent} equivalent: "
                f"{tally.killed / max(alive, 1):4.0%}   {time.monotonic() - begin:5.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
