"""The robust fit against SciPy's solver: the same optimum, within the same bounds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special
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


def counting(model: Model) -> tuple[Model, list[int]]:
    """The same, and how often its residuals were asked for."""
    asked = [0]

    def residual(theta: np.ndarray) -> np.ndarray:
        asked[0] += 1
        return model.residual(theta)

    return Model(residual, model.jacobian), asked


@pytest.mark.parametrize("turn", [0.01, 1.0, 1.345, 40.0])
def test_the_loss_is_scipys_hubers(turn: float) -> None:
    """Inside, beyond and at the turn; half of a square of what is small."""
    residual = np.array([-90.0, -2.0, -1.345, -0.5, 0.0, 0.005, 1.0, 1.345, 3.0])
    assert huber_cost(residual, turn) == pytest.approx(float(special.huber(turn, residual).sum()), rel=1e-14)
    assert huber_cost(np.array([0.004]), turn) == pytest.approx(8e-6)


def test_a_parameter_at_its_bound_leaves_it_however_little_it_gains() -> None:
    """From either bound, to an optimum a ten thousandth away from it."""
    for at, best in ((0.0, 1e-4), (1.0, 1 - 1e-4)):
        model = Model(lambda x, best=best: x - best, lambda x: np.eye(1))
        found = robust_fit(model, np.array([at]), np.zeros(1), np.ones(1), 100.0)
        assert found.x[0] == pytest.approx(best, abs=1e-9)
        assert found.cost == pytest.approx(0.0, abs=1e-15)


def test_a_bound_that_is_best_holds_one_parameter_and_none_of_the_others() -> None:
    """The nearest point of a plane's edge: the other parameter is free to find its own."""
    data = np.array([[1.0, 0.9], [0.0, 1.0], [1.0, 0.0]])
    aim = data @ np.array([3.0, -2.0])
    model = Model(lambda x: data @ x - aim, lambda x: data)
    found = robust_fit(model, np.array([0.5, 0.5]), np.array([-9.0, 0.0]), np.full(2, 9.0), 1e6)
    alone = float(np.linalg.lstsq(data[:, :1], aim, rcond=None)[0][0])
    np.testing.assert_allclose(found.x, [alone, 0.0], atol=1e-8)


def test_a_plane_is_found_in_a_few_steps_whatever_its_unit() -> None:
    """Nanoseconds or hours: some steps, and none when nothing is left to gain."""
    data = np.column_stack([np.ones(30), np.linspace(0, 1, 30)])
    noise = np.random.default_rng(2).standard_normal(30)
    steps: list[int] = []
    for unit in (1e-9, 1.0, 1e9):
        y = unit * (2 + 3 * data[:, 1] + 0.1 * noise)
        model, asked = counting(Model(lambda x, y=y: data @ x - y, lambda x: data))
        found = robust_fit(model, np.zeros(2), np.full(2, -np.inf), np.full(2, np.inf), 10 * unit)
        np.testing.assert_allclose(found.x, np.linalg.lstsq(data, y, rcond=None)[0], rtol=1e-6)
        steps.append(asked[0])
    assert max(steps) <= 14, steps


def test_a_curve_is_found_in_some_dozens_of_evaluations() -> None:
    """Of noisy curves half in 40, and nine of ten in 150; those at a bound take the most."""
    taken: list[int] = []
    for seed in range(40):
        model, turn = latency_model(seed)
        counted, asked = counting(model)
        robust_fit(counted, START, LOW, HIGH, turn)
        taken.append(asked[0])
    assert np.median(taken) <= 40, taken
    assert np.quantile(taken, 0.9) <= 150, taken


def test_a_start_at_the_optimum_stays_there() -> None:
    """Two evaluations at most tell that nothing is to be gained; nothing moves where all is held."""
    model, asked = counting(
        Model(lambda x: np.array([3.0, -3.0]) * (1 + 0 * x[0]), lambda x: np.zeros((2, 1)))
    )
    found = robust_fit(model, np.array([1.0]), np.zeros(1), np.full(1, 2.0), 1.0)
    assert found.x.tolist() == [1.0]
    assert found.cost == pytest.approx(5.0)
    held, asked = counting(Model(lambda x: x + 1.0, lambda x: np.eye(1)))
    stuck = robust_fit(held, np.zeros(1), np.zeros(1), np.ones(1), 1.0)
    assert (stuck.x.tolist(), stuck.cost, asked[0]) == ([0.0], 0.5, 1)
