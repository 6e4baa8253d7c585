"""Jaeger and Zipkin JSON beside OTLP JSON lines of the same traces, and beside CRISP's whole analysis.

    python benchmarks/foreign_json.py [TRACES] [--crisp CHECKOUT] [--keep FOLDER]

10,000 traces of 50 spans in ten services, over two days: as OTLP JSON lines, as one Jaeger document
(``{"data": [...]}``, 250 MB), as one Zipkin array of traces, in which client and server share an id, as
another of version 1, and as lines of Elasticsearch with mapped tags.
Each is imported as a process into a fresh store, twice, and the second counts; the first may compile.
CPU seconds are of all processes and threads, user and system.  Goals: import and ``diff`` of the Jaeger
document in at most a quarter of CRISP's CPU; all others at no less than 60 % of the rate of OTLP JSON;
memory within ``memory_mb``.

CRISP's figure is of its whole analysis, with frames of all traces, heat map and flame graphs.  What it does
before those, in its version of 2021 (reading, graphs, critical paths, sums by call path and their quantiles),
took 4.7 to 6.1 CPU s beside 5.1 to 5.7 of ``import`` and 0.7 to 0.8 of ``diff``: three runs in turn on two
busy cores, 2026-11-28.  Against that `import`, in pairs, today's takes 0.80 of the CPU (4.46 and 3.58 s), and
`diff` 0.58 s.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

#: CPU seconds that CRISP (github.com/uber-research/CRISP) took for 10,000 traces of 50 spans, in the quickest
#: and the slowest of its runs on two cores; a figure given before this benchmark, recorded here 2026-11-27.
CRISP_CPU_S = (16.0, 26.0)
SPANS = 50
SERVICES = 10
#: Kinds of requests: each has its own calls.
KINDS = 20
BEGIN_US = 1_795_000_000 * 10**6 // 3_600_000_000 * 3_600_000_000
HOURS = 48


class Span(NamedTuple):
    """One span of a made trace; a server has the id of its client."""

    id: int
    parent: int
    client: bool
    service: int
    start_us: int
    duration_us: int


@dataclass(frozen=True, slots=True)
class Trace:
    """A made trace: calls between services, client and server side of each."""

    id: int
    spans: list[Span]


def _shape(number: int) -> list[tuple[int, int]]:
    """Calls of one kind of request: number of the server that calls, 0 for the first, and service called."""
    draw = random.Random(number)
    return [(draw.randrange(call + 1), draw.randrange(SERVICES)) for call in range((SPANS - 2) // 2)]


def traces(count: int) -> Iterator[Trace]:
    """Traces by start: a request of some kind each, calls with client and server side, and one call more."""
    draw = random.Random(7)
    shapes = [_shape(number) for number in range(KINDS)]
    step = HOURS * 3_600_000_000 // count
    for number in range(count):
        at = BEGIN_US + number * step
        spans = [Span(draw.getrandbits(63) | 1, 0, client=False, service=0, start_us=at, duration_us=90_000)]
        servers = [spans[0]]
        for by, callee in shapes[number % KINDS]:
            caller = servers[by]
            at = caller.start_us + draw.randrange(1 + caller.duration_us // 2)
            took = max(2, (caller.start_us + caller.duration_us - at) * draw.randrange(50, 95) // 100)
            call = Span(draw.getrandbits(63) | 1, caller.id, True, caller.service, at, took)
            served = Span(draw.getrandbits(63) | 1, call.id, False, callee, at + took // 10, took * 8 // 10)
            spans += [call, served]
            servers.append(served)
        spans.append(Span(draw.getrandbits(63) | 1, spans[0].id, True, 0, spans[0].start_us + 1000, 5000))
        yield Trace(draw.getrandbits(127) | 1, spans)


def _tags(span: Span) -> dict[str, Any]:
    return {"http.route": f"/items/{span.service}/{{id}}", "http.response.status_code": 200}


def _resource(service: int) -> dict[str, str]:
    return {
        "service.name": f"service-{service}", "service.version": "1.4.2", "host.name": f"node-{service}",
        "telemetry.sdk.language": "java",
    }  # fmt: skip


def _value(value: Any) -> dict[str, Any]:
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


def otlp(trace: Trace) -> dict[str, Any]:
    """A TracesData document."""
    groups: dict[int, list[dict[str, Any]]] = {}
    for span in trace.spans:
        made = {
            "traceId": f"{trace.id:032x}", "spanId": f"{span.id:016x}",
            "parentSpanId": f"{span.parent:016x}" if span.parent else "",
            "name": f"GET /items/{span.service}/{{id}}", "kind": 3 if span.client else 2,
            "startTimeUnixNano": str(span.start_us * 1000),
            "endTimeUnixNano": str((span.start_us + span.duration_us) * 1000),
            "attributes": [{"key": key, "value": _value(value)} for key, value in _tags(span).items()],
            "status": {},
        }  # fmt: skip
        groups.setdefault(span.service, []).append(made)
    return {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": [{"key": k, "value": _value(v)} for k, v in _resource(service).items()]
                },
                "scopeSpans": [{"scope": {"name": "io.example"}, "spans": spans}],
            }
            for service, spans in groups.items()
        ]
    }


def _jaeger_tag(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "type": "int64" if isinstance(value, int) else "string", "value": value}


def jaeger(trace: Trace) -> dict[str, Any]:
    """A trace as Jaeger's API gives it."""
    trace_id = f"{trace.id:032x}"
    spans = [
        {
            "traceID": trace_id, "spanID": f"{span.id:016x}", "flags": 1,
            "operationName": f"GET /items/{span.service}/{{id}}",
            "references": [{"refType": "CHILD_OF", "traceID": trace_id, "spanID": f"{span.parent:016x}"}]
            if span.parent else [],
            "startTime": span.start_us, "duration": span.duration_us,
            "tags": [_jaeger_tag(key, value) for key, value in _tags(span).items()]
            + [_jaeger_tag("span.kind", "client" if span.client else "server")],
            "logs": [], "processID": f"p{span.service + 1}", "warnings": None,
        }
        for span in trace.spans
    ]  # fmt: skip
    processes = {
        f"p{service + 1}": {
            "serviceName": f"service-{service}",
            "tags": [_jaeger_tag(k, v) for k, v in _resource(service).items() if k != "service.name"],
        }
        for service in sorted({span.service for span in trace.spans})
    }
    return {"traceID": trace_id, "spans": spans, "processes": processes, "warnings": None}


def zipkin(trace: Trace) -> list[dict[str, Any]]:
    """A trace as Zipkin's API gives it: a server shares the id of its client."""
    by_id = {span.id: span for span in trace.spans}

    def shared(span_id: int) -> int:
        span = by_id.get(span_id)
        return span.parent if span and not span.client and span.parent else span_id

    out: list[dict[str, Any]] = []
    for span in trace.spans:
        own = shared(span.id)
        parent = shared(by_id[own].parent) if by_id[own].parent else 0
        out.append(
            {
                "traceId": f"{trace.id:032x}", "id": f"{own:016x}",
                **({"parentId": f"{parent:016x}"} if parent else {}),
                "kind": "CLIENT" if span.client else "SERVER",
                "name": f"get /items/{span.service}/{{id}}", "timestamp": span.start_us, "duration": span.duration_us,
                "localEndpoint": {"serviceName": f"service-{span.service}", "ipv4": f"10.0.0.{span.service}"},
                "tags": {key: str(value) for key, value in _tags(span).items()},
                **({} if own == span.id else {"shared": True}),
            }
        )  # fmt: skip
    return out


def zipkin_v1(trace: Trace) -> list[dict[str, Any]]:
    """A trace as Zipkin's first API gave it: one record holds both sides of a call."""
    found: dict[str, dict[str, Any]] = {}
    for side in zipkin(trace):
        made = found.setdefault(
            side["id"],
            {name: side[name] for name in ("traceId", "id", "parentId", "name") if name in side}
            | {"annotations": [], "binaryAnnotations": []},
        )
        here = side["localEndpoint"]
        first, last = ("cs", "cr") if side["kind"] == "CLIENT" else ("sr", "ss")
        ends = (side["timestamp"], first), (side["timestamp"] + side["duration"], last)
        made["annotations"] += [{"timestamp": at, "value": value, "endpoint": here} for at, value in ends]
        made["binaryAnnotations"] += [
            {"key": key, "value": value, "endpoint": here} for key, value in side["tags"].items()
        ]
        if "shared" not in side:
            made |= {"timestamp": side["timestamp"], "duration": side["duration"]}
    return list(found.values())


def elasticsearch(trace: Trace) -> Iterator[dict[str, Any]]:
    """Documents of a trace as Jaeger keeps them where tags are mapped to fields."""
    whole = jaeger(trace)

    def fields(owner: dict[str, Any]) -> dict[str, Any]:
        mapped = {tag["key"].replace(".", "@"): tag["value"] for tag in owner["tags"]}
        return owner | {"tags": [], "tag": mapped}

    for span in whole["spans"]:
        process = fields(whole["processes"][span["processID"]])
        yield {name: value for name, value in fields(span).items() if name != "processID"} | {
            "process": process, "startTimeMillis": span["startTime"] // 1000,
        }  # fmt: skip


def _compact(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"))


def _write(folder: Path, count: int) -> dict[str, Path]:
    """The same traces in each format."""
    files = {
        name: folder / name
        for name in ("otlp.jsonl", "jaeger.json", "zipkin.json", "zipkin-v1.json", "elastic.jsonl")
    }
    streams = {name: path.open("w") for name, path in files.items()}
    streams["jaeger.json"].write('{"data": [')
    for name in ("zipkin.json", "zipkin-v1.json"):
        streams[name].write("[")
    for number, trace in enumerate(traces(count)):
        comma = ", " if number else ""
        streams["otlp.jsonl"].write(_compact(otlp(trace)) + "\n")
        streams["jaeger.json"].write(comma + _compact(jaeger(trace)))
        streams["zipkin.json"].write(comma + _compact(zipkin(trace)))
        streams["zipkin-v1.json"].write(comma + _compact(zipkin_v1(trace)))
        streams["elastic.jsonl"].writelines(_compact(one) + "\n" for one in elasticsearch(trace))
    streams["jaeger.json"].write('], "total": 0, "limit": 0, "offset": 0, "errors": null}\n')
    for name in ("zipkin.json", "zipkin-v1.json"):
        streams[name].write("]\n")
    for stream in streams.values():
        stream.close()
    return files


#: Modules are read compiled, as those of an installed program are; a checkout's own folders stay clean.
_BYTECODE = {"PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "tracescope-bytecode")}


class Cost(NamedTuple):
    """CPU seconds of a process and all it started, and its largest memory."""

    cpu_s: float
    wall_s: float
    memory_mib: float


def run(*command: str) -> Cost:
    """What a command costs."""
    begun = time.monotonic()
    compiled = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    child = subprocess.Popen(
        command, env=compiled | _BYTECODE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    said = child.stderr.read() if child.stderr else b""
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed: {said.decode(errors='replace')}")
    return Cost(used.ru_utime + used.ru_stime, time.monotonic() - begun, used.ru_maxrss / 1024)


def _tracescope(*arguments: str) -> Cost:
    return run(sys.executable, "-m", "tracescope", *arguments)


def _crisp(checkout: Path, jaeger_file: Path, folder: Path) -> Cost:
    """CRISP's analysis of the same traces: it reads a folder of one file a trace."""
    split, out = folder / "crisp-in", folder / "crisp-out"
    split.mkdir(exist_ok=True)
    out.mkdir(exist_ok=True)
    for trace in json.loads(jaeger_file.read_bytes())["data"]:
        (split / f"{trace['traceID']}.json").write_text(json.dumps({"data": [trace]}))
    first = ("-s", "service-0", "-a", "GET /items/0/{id}")
    program = str(checkout / "process.py")
    return run(sys.executable, program, "-t", str(split), "-o", str(out), *first, "--parallelism", "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("traces", nargs="?", type=int, default=10_000)
    parser.add_argument("--crisp", type=Path, help="a checkout of CRISP, to be measured here")
    parser.add_argument("--keep", type=Path, help="write the files there, and leave them")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        folder.mkdir(exist_ok=True)
        files = _write(folder, given.traces)
        spans = given.traces * SPANS
        costs: dict[str, Cost] = {}
        for name, path in files.items():
            for turn in range(2):
                store = Path(scratch) / f"{name}-{turn}"
                costs[name] = _tracescope("import", str(path), "--store", str(store))
            cost = costs[name]
            print(
                f"import {name:12} {path.stat().st_size / 1e6:6.0f} MB  {cost.cpu_s:6.2f} CPU s  {cost.wall_s:6.2f} s"
                f"  {cost.cpu_s / spans * 1e6:5.1f} us a span  {cost.memory_mib:5.0f} MiB"
            )
        days = [f"{_day(k)}/{_day(k + 1)}" for k in range(2)]
        store = str(Path(scratch) / "jaeger.json-1")
        for _ in range(2):
            costs["diff"] = _tracescope("diff", *days, "--tz", "UTC", "--store", store, "--format", "json")
        print(f"diff of two days                {costs['diff'].cpu_s:6.2f} CPU s")
        for name in list(files)[1:]:
            rate = costs["otlp.jsonl"].cpu_s / costs[name].cpu_s
            print(f"{name}: {100 * rate:.0f} % of the rate of OTLP JSON lines (goal 60 %)")
        if given.crisp:
            quick = slow = _crisp(given.crisp, files["jaeger.json"], Path(scratch)).cpu_s
        else:
            quick, slow = (second * given.traces / 10_000 for second in CRISP_CPU_S)
        ours = costs["jaeger.json"].cpu_s + costs["diff"].cpu_s
        print(
            f"import + diff: {ours:.2f} CPU s, {ours / quick:.2f} to {ours / slow:.2f} of CRISP's"
            f" {quick:.0f} to {slow:.0f} (goal 0.25)"
        )


def _day(number: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(BEGIN_US // 10**6 + number * HOURS * 1800))


if __name__ == "__main__":
    main()
