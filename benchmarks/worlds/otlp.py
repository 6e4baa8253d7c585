"""Simulated spans as OTLP protobuf, so that worlds go the way of anybody's traces."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tracescope.ingest.protobuf import delimited, string_attribute, varint

#: Spans of one ExportTraceServiceRequest.
MOST_SPANS = 20_000
_STATUS_ERROR = b"\x7a\x02\x18\x02"
_Span = tuple[int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Resource:
    """A process that sends spans."""

    service: str
    instance: str
    version: str


@dataclass(frozen=True, slots=True)
class Template:
    """What all spans of one place in the code share."""

    name: str
    kind: int
    attributes: Mapping[str, str]
    failed: bool = False

    def tail(self) -> bytes:
        """Its fields of a span, after ids and times."""
        body = delimited(5, self.name.encode()) + b"\x30" + varint(self.kind)
        body += b"".join(delimited(9, string_attribute(key, value)) for key, value in self.attributes.items())
        return body + (_STATUS_ERROR if self.failed else b"")


@dataclass(slots=True)
class Spans:
    """Spans in the order in which they ended."""

    rows: list[_Span] = field(default_factory=list[_Span])
    _templates: list[tuple[Resource, bytes]] = field(default_factory=list[tuple[Resource, bytes]])

    def template(self, resource: Resource, shared: Template) -> int:
        """A number for `add`."""
        self._templates.append((resource, shared.tail()))
        return len(self._templates) - 1

    def add(self, template: int, trace: int, span: int, parent: int, start_ns: int, end_ns: int) -> None:
        """One span; a parent of 0 is none."""
        self.rows.append((template, trace, span, parent, start_ns, end_ns))

    def requests(self) -> Iterator[bytes]:
        """All of them as ExportTraceServiceRequest messages."""
        for first in range(0, len(self.rows), MOST_SPANS):
            yield self._request(self.rows[first : first + MOST_SPANS])

    def _request(self, rows: list[_Span]) -> bytes:
        of: dict[Resource, list[bytes]] = {}
        times = struct.Struct("<BQBQ").pack
        for template, trace, span, parent, start, end in rows:
            resource, tail = self._templates[template]
            ids = b"\x0a\x10" + trace.to_bytes(16, "big") + b"\x12\x08" + span.to_bytes(8, "big")
            if parent:
                ids += b"\x22\x08" + parent.to_bytes(8, "big")
            body = ids + times(0x39, start, 0x41, end) + tail
            of.setdefault(resource, []).append(b"\x12" + varint(len(body)) + body)
        return b"".join(
            delimited(1, delimited(1, _resource(resource)) + delimited(2, b"".join(spans)))
            for resource, spans in of.items()
        )

    def write(self, folder: Path) -> list[Path]:
        """All of them as files that `tracescope import` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        files: list[Path] = []
        for number, request in enumerate(self.requests()):
            files.append(folder / f"world-{number:04d}.pb")
            files[-1].write_bytes(request)
        return files


def _resource(resource: Resource) -> bytes:
    names = {"service.name": resource.service, "service.instance.id": resource.instance,
             "host.name": resource.instance, "service.version": resource.version,
             "deployment.environment.name": "production"}  # fmt: skip
    return b"".join(delimited(1, string_attribute(key, value)) for key, value in names.items())
