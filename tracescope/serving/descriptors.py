"""Files that may be open: what a receiver needs for itself, and what is left for connections.

A process may open so many (the *soft limit*, 1,024 on most systems), and raise that to the *hard limit*.
Connections must never take what the journal, the drain and health checks need.

Source: POSIX, getrlimit.
"""

from __future__ import annotations

import resource
from typing import Final

from tracescope.errors import ConfigError

#: Journal, landing files, the store's files being read, gRPC's own, logs.
RESERVED: Final = 160
#: A higher soft limit would serve no setting, and costs libraries that look at every one.
TARGET: Final = 65_536


def raise_limit(target: int = TARGET) -> int:
    """Raise the soft limit to what the hard one allows, `target` at most; the limit now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return target
    most = target if hard == resource.RLIM_INFINITY else min(hard, target)
    if most > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return max(soft, most)


def connections_of(limit: int, asked: int, ports: int) -> int:
    """Connections that each of some ports may have open, `asked` at most.

    Raises
    ------
    ConfigError
        The limit leaves none.
    """
    each = (limit - RESERVED) // max(ports, 1)
    if each < 1:
        raise ConfigError(
            f"this process may open {limit} files; {RESERVED} are for the store, and none is left to receive",
            f"raise the limit: `ulimit -n {RESERVED + 1024}`",
        )
    return min(asked, each)
