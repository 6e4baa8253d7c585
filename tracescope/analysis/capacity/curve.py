"""Curves that a resource's latency may follow as its load grows.

    R = R0 * (1 + a*N + b*N^2),   N = X * R          X arrivals/s, R seconds, N in the resource

is the Universal Scalability Law in open form: without its -1, so that sampling cannot move a and b.
Concurrency is endogenous (slow calls overlap more), so it is solved for R(X):

    R(X) / R0 = 2 / (A + sqrt(A^2 - (phi*rho)^2)),   A = 1 - (1 - phi)*rho,   rho = X / capacity

    capacity = 1 / (R0 * (a + 2*sqrt(b)))     no more arrivals than this can be served
    phi      = 2*sqrt(b) / (a + 2*sqrt(b))    0: contention alone (M/M/1), 1: coherency alone

Pools of servers, and services whose calls differ a lot, bend otherwise; the shapes that are allowed for
have them too.

Source: Gunther, "Guerrilla Capacity Planning", 2007, section 4.4; Sakasegawa, "An approximation formula
L_q = alpha * rho^beta / (1 - rho)", 1977; design, section 7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: The wall: latency at this multiple of its low-load value.
WALL_TIMES: Final = 3.0
#: Where a curve is continued as a straight line of its logarithm, so that a fit may pass beyond.
_STEEP: Final = 0.98
#: `Curve.less` of a queue's waits; not all of it, because the emptiest queue takes a moment too.  How long
#: that is the points say: at low loads it is most of the wait, and bends what is made of higher ones.
WAITS: Final = (0.95, 0.98, 0.99, 0.997)


def slowdown(rho: Floats, phi: Floats | float) -> tuple[Floats, Floats]:
    """Log of latency over its low-load value at utilisation `rho`, and its derivative by `rho`.

    Beyond `_STEEP` of capacity it goes on as a straight line.
    """
    inside = np.minimum(rho, _STEEP)
    a = 1 - (1 - phi) * inside
    root = np.sqrt(np.maximum(a * a - (phi * inside) ** 2, 1e-12))
    value = math.log(2) - np.log(a + root)
    slope = ((1 - phi) + (a * (1 - phi) + phi**2 * inside) / root) / (a + root)
    return value + slope * (rho - inside), slope


def waiting(rho: Floats, phi: Floats | float, less: float) -> tuple[Floats, Floats]:
    """As `slowdown`, of what is left of the latency without `less` of its low-load value.

    A queue's wait has no low-load value of its own: M/M/1 waits ``S * (1 / (1 - rho) - 1)``.
    """
    value, slope = slowdown(rho, phi)
    if less == 0:
        return value, slope
    whole = np.exp(np.minimum(value, 300.0))
    return np.log(whole - less), slope * whole / (whole - less)


def wall_utilisation(phi: Floats, times: float = WALL_TIMES) -> Floats:
    """Part of capacity at which latency is `times` its low-load value; at most all of it."""
    phi = np.asarray(phi, dtype=np.float64)
    square = phi**2 / 4
    linear = 1 - phi
    # square * z^2 + linear * z = times - 1, z = rho * times; stable for square near 0
    z = 2 * (times - 1) / (linear + np.sqrt(linear**2 + 4 * square * (times - 1)))
    return np.where(times * phi > 2, 1.0, np.minimum(z / times, 1.0))


@dataclass(frozen=True, slots=True)
class Shape:
    """A curve that a resource's may have: the law with some phi, or a queue that the law only resembles.

    ``queue`` is None, or s and k of ``R / R0 = 1 + s * rho^k / (1 - rho)``: a lock held for the part s of
    the work (k = 1), or a pool (see `pool`).
    """

    phi: float = 0.0
    queue: tuple[float, float] | None = None

    @staticmethod
    def pool(servers: int, variability: float) -> Shape:
        """So many servers; half of the squared coefficients of variation of arrivals and of service.

        1 is M/M/c, 1/2 a service that always takes the same, more than 1 one whose calls differ a lot.

        Source: Allen, "Probability, Statistics, and Queueing Theory", 1990, section 5.3 (the
        Allen-Cunneen approximation of G/G/c), with Sakasegawa's exponent.
        """
        return Shape(queue=(variability / servers, math.sqrt(2 * (servers + 1)) - 1))

    def slowdown(self, rho: Floats, less: float = 0.0) -> tuple[Floats, Floats]:
        """As `waiting`."""
        if self.queue is None:
            return waiting(rho, self.phi, less)
        return queueing(rho, *self.queue, less)

    def wall(self, times: float = WALL_TIMES) -> float:
        """Part of capacity at which latency is `times` its low-load value."""
        if self.queue is None:
            return float(wall_utilisation(np.array(self.phi), times))
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            s, k = self.queue
            low, high = (middle, high) if 1 + s * middle**k / (1 - middle) < times else (low, middle)
        return low


def queueing(rho: Floats, s: Floats | float, k: Floats | float, less: float) -> tuple[Floats, Floats]:
    """As `waiting`, of a queue's ``R / R0 = 1 + s * rho^k / (1 - rho)``."""
    inside = np.clip(rho, 1e-9, _STEEP)
    more = s * inside**k / (1 - inside)
    slope = more * (k / inside + 1 / (1 - inside)) / (1 + more - less)
    return np.log(1 + more - less) + slope * (rho - inside), slope


#: Curves that the data may leave open: the law, pools of servers of any usual variability, and locks.
SHAPES: Final = (
    *(Shape(phi=number / 6) for number in range(7)),
    *(
        Shape.pool(servers, variability)
        for servers in (1, 2, 3, 4, 6, 8, 12, 16, 32)
        for variability in (0.5, 1.0, 2.0, 4.0)
        if (servers, variability) != (1, 1.0)  # the law without coherency
    ),
    *(Shape(queue=(part, 1.0)) for part in (0.75, 0.5, 0.25)),
)
#: Of each of them: phi, s and k, and the part of capacity at the wall.
_PHI: Final = np.array([shape.phi for shape in SHAPES])
_QUEUE: Final = np.array([shape.queue or (np.nan, np.nan) for shape in SHAPES])
WALLS: Final = np.array([shape.wall() for shape in SHAPES])


def slowdowns(shapes: NDArray[np.int64], rho: Floats, less: float = 0.0) -> tuple[Floats, Floats]:
    """As `waiting`, each row of `rho` ``(n, m)`` by a shape of its own: indices of `SHAPES` ``(n,)``."""
    value, slope = np.empty_like(rho), np.empty_like(rho)
    by_law = np.isnan(_QUEUE[shapes, 0])
    if by_law.any():
        value[by_law], slope[by_law] = waiting(rho[by_law], _PHI[shapes[by_law], None], less)
    if not by_law.all():
        s, k = (_QUEUE[shapes[~by_law], column, None] for column in (0, 1))
        value[~by_law], slope[~by_law] = queueing(rho[~by_law], s, k, less)
    return value, slope


@dataclass(frozen=True, slots=True)
class Curve:
    """A load curve as it is now.

    Attributes
    ----------
    r0_s
        Latency at no load.
    capacity
        Most arrivals a second; infinite when load does nothing.
    phi
        Coherency's part, 0 to 1.
    less
        Part of `r0_s` that is not counted; one of `WAITS` for a queue's waits, where `r0_s` is what
        serving takes.
    """

    r0_s: float
    capacity: float
    phi: float
    less: float = 0.0

    def latency_s(self, load: Floats, drift: Floats | float = 0.0) -> Floats:
        """Latency at `load` ``(n,)``, after log growth `drift` at equal load."""
        value, _ = waiting(np.asarray(load) * np.exp(drift) / self.capacity, self.phi, self.less)
        return self.r0_s * np.exp(value + drift)

    @property
    def contention(self) -> float:
        """``a`` of the law."""
        return (1 - self.phi) / (self.capacity * self.r0_s)

    @property
    def coherency(self) -> float:
        """``b`` of the law."""
        return (self.phi / (2 * self.capacity * self.r0_s)) ** 2

    @property
    def wall(self) -> float:
        """Arrivals a second at which latency is `WALL_TIMES` its low-load value."""
        return self.capacity * float(wall_utilisation(np.array(self.phi)))

    def elasticity(self, load: float) -> float:
        """Per cent of latency for one per cent of load."""
        rho = np.array(load / self.capacity)
        return float(rho * waiting(rho, self.phi, self.less)[1])

    @staticmethod
    def of(r0_s: float, a: float, b: float) -> Curve:
        """From the law's own coefficients."""
        both = a + 2 * math.sqrt(b)
        if both <= 0:
            return Curve(r0_s, math.inf, 0.0)
        return Curve(r0_s, 1 / (r0_s * both), 2 * math.sqrt(b) / both)
