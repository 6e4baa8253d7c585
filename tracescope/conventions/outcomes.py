"""What attributes say of how a call ended, where its span's status says nothing.

A status that is set is final: a library, or whoever wrote the service, has judged.  Older libraries leave
it unset and only give the protocol's code; what the conventions call an error is one then as well.

    what          an error by its code                                           no error
    HTTP          500 and more                                                   4xx
    gRPC server   UNKNOWN DEADLINE_EXCEEDED UNIMPLEMENTED INTERNAL UNAVAILABLE   everything else
                  DATA_LOSS
    gRPC client   everything but OK                                              OK

A client's 4xx without a status stays none: a library that knows that an answer was expected leaves it unset
on purpose.  Exceptions that are recorded and handled say nothing.

Source: OpenTelemetry semantic conventions: HTTP spans (status), gRPC (status), recording errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tracescope.schema import KIND_CLIENT, KIND_PRODUCER

#: Meaning -> attribute names, the one that wins first; part of `semconv.SPAN_ATTRIBUTES`.
OUTCOME_ATTRIBUTES: Final[dict[str, tuple[str, ...]]] = {
    "rpc_status": (
        "rpc.response.status_code", "rpc.grpc.status_code", "grpc.status_code", "rpc.connect_rpc.error_code",
    ),
}  # fmt: skip

#: gRPC's codes by number.
GRPC_CODES: Final = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
    "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
_OF_SERVERS: Final = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
_SERVER_ERRORS: Final = range(500, 600)


def says_failed(attributes: Mapping[str, str], kind: int) -> bool:
    """Whether a span failed by its attributes.

    Parameters
    ----------
    attributes, kind
        As for `tracescope.conventions.semconv.meaning`.
    """
    code = attributes.get("http_status", "")
    if len(code) == 3 and code.isdecimal() and int(code) in _SERVER_ERRORS:
        return True
    said = attributes.get("rpc_status", "")
    if said.isdecimal() and len(said) <= 2:
        said = GRPC_CODES[int(said)] if int(said) < len(GRPC_CODES) else ""
    said = said.upper()
    if said not in GRPC_CODES:
        return False
    return said != "OK" if kind in (KIND_CLIENT, KIND_PRODUCER) else said in _OF_SERVERS
