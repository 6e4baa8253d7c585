"""The robust fit against SciPy's solver: the same optimum, within the same bounds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

from tracescope.analysis.capacity.curve import waiting
from tracescope.analysis.statistics.robust_fit import Model, huber_cost, robust_fit

LOW, HIGH = np.array([-np.inf, 0.0, 0.0, -3.0]), np.array([np.inf, 3.0, 1.0, 3.0])
START = np.array([0.0, 0.4, 0.3, 0.0])


def latency_model(seed: int) -> tuple[Model, float]:
    """A load curve of a random resource, seen through noise with some far points."""
    rng = np.random.default_rng(seed)
    load, time = rng.uniform(0.2, 1.0, 60), np.linspace(-8, 0, 60)
    top, phi, growth = rng.uniform(0.0, 0.9), rng.choice([0.0, 0.5, 1.0]), rng.normal(0, 0.02)
    noise = rng.uniform(0.005, 0.1)
    y = 1 + growth * time + waiting(top * load * np.exp(growth * time), phi, 0.0)[0]
    y = y + rng.standard_t(2, 60) * noise

    def residual(theta: np.ndarray) -> np.ndarray:
        return (
            y
            - theta[0]
            - theta[3] * time
            - waiting(theta[1] * load * np.exp(theta[3] * time), theta[2], 0.0)[0]
        )

    def jacobian(theta: np.ndarray) -> np.ndarray:
        moved = load * np.exp(theta[3] * time)
        value, slope = waiting(theta[1] * moved, theta[2], 0.0)
        tiny = 1e-6 if theta[2] < 0.5 else -1e-6
        by_phi = (waiting(theta[1] * moved, theta[2] + tiny, 0.0)[0] - value) / tiny
        by_growth = time * (1 + slope * theta[1] * moved)
        return -np.column_stack([np.ones_like(load), slope * moved, by_phi, by_growth])

    return Model(residual, jacobian), 1.345 * noise


@pytest.mark.parametrize("seed", range(60))
def test_no_solver_finds_a_nearer_curve(seed: int) -> None:
    """Whatever the resource, the noise and the bound that the truth lies on."""
    model, turn = latency_model(seed)
    ours = robust_fit(model, START, LOW, HIGH, turn)
    theirs = least_squares(
        model.residual, START, jac=model.jacobian, loss="huber", f_scale=turn, bounds=(LOW, HIGH),
        x_scale=[1.0, 0.3, 0.5, 0.1], max_nfev=500, ftol=1e-12, xtol=1e-12, gtol=1e-12,
    )  # fmt: skip
    assert ours.cost <= float(theirs.cost) * (1 + 1e-6)
    assert ours.cost == pytest.approx(huber_cost(model.residual(ours.x), turn), rel=1e-12)
    assert ((ours.x >= LOW) & (ours.x <= HIGH)).all()


def test_a_far_point_counts_by_its_size() -> None:
    """A location with one wild value: Huber's estimate, which SciPy's solver gives too; not the mean."""
    values = np.array([0.0, 0.1, -0.1, 0.05, 1000.0])
    model = Model(lambda x: values - x[0], lambda x: -np.ones((5, 1)))
    free = np.array([np.inf])
    ours = robust_fit(model, np.array([500.0]), -free, free, 0.1)
    theirs = least_squares(lambda x: values - x[0], [0.0], loss="huber", f_scale=0.1, xtol=1e-14, ftol=1e-14)
    assert ours.x[0] == pytest.approx(float(theirs.x[0]), abs=1e-6)
    assert abs(ours.x[0]) < 0.1


def test_a_start_outside_the_bounds_ends_inside() -> None:
    """The nearest point of the box, when the best one lies outside."""
    model = Model(lambda x: x - np.array([5.0, -5.0]), lambda x: np.eye(2))
    found = robust_fit(model, np.array([9.0, 9.0]), np.zeros(2), np.ones(2), 100.0)
    np.testing.assert_allclose(found.x, [1.0, 0.0], atol=1e-9)
