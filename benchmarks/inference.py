"""Frozen policies against `model.predict`, one bar a call, and the Kalman step against filter libraries."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure import Bound, Row, at_least, medians, missing, spend
from hybrid_bt.config import load_config
from hybrid_bt.equations import kalman
from hybrid_bt.errors import how_to_install

__all__ = ["kalman_step", "policies"]

EQUAL = 2e-6  #: of the action: SB3 computes in float32
KALMAN_EQUAL = 1e-9


def policies(quick: bool) -> list[Row]:
    """One member and one row: SAC for one asset, and the gate; then the shipped ensembles for a whole bar of us20.

    Both answer the same bar, in the type that each reads (float64; float32), with buffers bound and memory made.
    """
    if importlib.util.find_spec("sb3_contrib") is None or importlib.util.find_spec("onnx") is None:
        return [missing("SAC and gate inference", f"not installed: {how_to_install('train')}")]
    from benchmarks.models import gate_and_frozen, sac_and_frozen

    seconds = 0.05 if quick else 0.3
    rng = np.random.default_rng(0)
    rows = []
    for name, (model, frozen), recurrent in (
        ("SAC [64, 64]", sac_and_frozen(), False),
        ("gate LSTM-32", gate_and_frozen(), True),
    ):
        bar = rng.normal(size=(1, len(frozen.manifest.observation)))
        predict = _predictor(model, bar.astype(np.float32), recurrent)
        gap = max(abs(float(frozen.act(bar)[0]) - float(predict().reshape(-1)[0])) for _ in range(20))
        if gap > EQUAL:
            raise AssertionError(f"{name}: frozen and predict differ by {gap}")
        cost = medians(
            {"ours": lambda f=frozen, x=bar: f.act(x), "predict": predict}, 5, lambda work: spend(work, seconds)
        )
        what, note = f"{name}, 1 row", f"largest difference {gap:.1e}"
        rows.append(
            Row(what, "us", cost["ours"] * 1e6, "SB3 model.predict", cost["predict"] * 1e6, at_least(25.0), note)
        )
    return rows + _shipped(seconds)


def _predictor(model: Any, bar: Any, recurrent: bool) -> Callable[[], Any]:
    """A call of `model.predict` as a strategy makes it, memory and all."""
    if not recurrent:
        return lambda: model.predict(bar, deterministic=True)[0]
    memory: list[Any] = [None]
    first = np.array([True])
    later = np.array([False])

    def predict() -> Any:
        begins = first if memory[0] is None else later
        action, memory[0] = model.predict(bar, state=memory[0], episode_start=begins, deterministic=True)
        return action

    return predict


def _shipped(seconds: float) -> list[Row]:
    """What a bar costs with the ensembles that ship."""
    from hybrid_bt.config.build import load_policies

    found = load_policies(load_config("stable"))
    rows = []
    for name, policy, n_rows in (("SAC", found.sac, 1), ("SAC", found.sac, 20), ("gate", found.gate, 1)):
        assert policy is not None
        bar = np.zeros((n_rows, len(policy.manifest.observation)))
        cost = medians({"ours": lambda p=policy, x=bar: p.act(x)}, 5, lambda work: spend(work, seconds))
        what = f"shipped {name}, {policy.manifest.members} members, {n_rows} rows"
        rows.append(Row(what, "us", cost["ours"] * 1e6, "", math.nan, Bound("figure", math.nan)))
    return rows


def kalman_step(quick: bool) -> list[Row]:
    """A bar of one pair, of a filter from the first bar to the last: what is made once is a thousandth of each.

    The rivals' own steps, with what does not change from bar to bar set once.
    """
    n_bars = 1_000 if quick else 2_000
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.normal(0.0, 0.01, n_bars)) + 4.0
    y = 0.3 + 0.9 * x + rng.normal(0.0, 0.01, n_bars)
    params = load_config("stable").kalman_params
    pairs = list(zip(y.tolist(), x.tolist(), strict=True))

    def ours() -> float:
        state = kalman.initial_state(params)
        for y_t, x_t in pairs:
            state = kalman.step(state, y_t, x_t, params)
        return state.beta

    rivals = {"filterpy": (_filterpy, 20.0), "pykalman": (_pykalman, 300.0)}
    rows: list[Row] = []
    for name, (make, bound) in rivals.items():
        if importlib.util.find_spec(name) is None:
            rows.append(missing(f"Kalman step, {name}", f"not installed: pip install {name}"))
            continue
        theirs = make(y, x, params)
        gap = abs(theirs() - ours())
        if gap > KALMAN_EQUAL:
            raise AssertionError(f"Kalman: ours and {name} differ by {gap}")
        cost = medians({"ours": ours, name: theirs}, 3 if quick else 5)
        micro = 1e6 / n_bars
        note = f"beta differs by {gap:.0e}"
        rows.append(Row("Kalman step", "us", cost["ours"] * micro, name, cost[name] * micro, at_least(bound), note))
    if rows and rows[0].ours == rows[0].ours:
        rows.append(Row("Kalman step", "us", rows[0].ours, "", math.nan, Bound("figure", 1.5)))
    return rows


def _filterpy(y: Any, x: Any, params: kalman.KalmanParams) -> Callable[[], float]:
    from filterpy.kalman import KalmanFilter

    def run() -> float:
        f = KalmanFilter(dim_x=2, dim_z=1)
        f.x = np.array([[0.0], [1.0]])
        f.P = np.diag([params.initial_alpha_var, params.initial_beta_var])
        f.Q = np.diag([params.alpha_var_per_bar, params.beta_var_per_bar])
        f.R = np.array([[params.noise_var]])
        f.F = np.eye(2)
        for y_t, x_t in zip(y, x, strict=True):
            f.predict()
            f.update(y_t, H=np.array([[1.0, x_t]]))
        return float(f.x[1, 0])

    return run


def _pykalman(y: Any, x: Any, params: kalman.KalmanParams) -> Callable[[], float]:
    from pykalman import KalmanFilter

    drift = np.diag([params.alpha_var_per_bar, params.beta_var_per_bar])
    f = KalmanFilter(
        transition_matrices=np.eye(2), transition_covariance=drift, observation_covariance=[[params.noise_var]]
    )

    def run() -> float:
        mean, covariance = np.array([0.0, 1.0]), np.diag([params.initial_alpha_var, params.initial_beta_var])
        for y_t, x_t in zip(y, x, strict=True):
            mean, covariance = f.filter_update(mean, covariance, y_t, observation_matrix=np.array([[1.0, x_t]]))
        return float(mean[1])

    return run
