"""`cerebro.plot()` shows what a HybridStrategy thought, without a screen too; else nothing is kept of it."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import backtrader as bt
import numpy as np
import pytest

from hybrid_bt import HybridStrategy, load_bars
from hybrid_bt.feeds import to_feeds
from hybrid_bt.feeds.framework import Framework

BARS = load_bars("us20", symbols=["KO", "PEP", "MSFT"]).between("2007-06-01", "2010-12-31")


def ran(pairs: str = "KO:PEP", modes: dict[str, object] | None = None, **given: object) -> Framework:
    cerebro = bt.Cerebro(**(modes or {}))
    for feed in to_feeds(BARS):
        cerebro.adddata(feed, name=feed._name)
    cerebro.broker.setcash(1e6)
    cerebro.addstrategy(HybridStrategy, pairs=pairs, record=True, **given)
    return cerebro.run()[0]


def line(strategy: Framework, observer: str, name: str) -> np.ndarray:
    return np.array(getattr(getattr(strategy.stats, observer).lines, name).array)


@pytest.mark.parametrize("modes", [{}, {"runonce": False}, {"preload": False}])
def test_the_observers_hold_every_decision(modes: dict[str, object]) -> None:
    strategy = ran(modes=modes)
    made, pairs = strategy.recorder.decisions(), strategy.recorder.pairs()
    assert len(strategy) == len(made.regime) == BARS.n_bars
    np.testing.assert_array_equal(line(strategy, "regime", "r"), made.regime)
    for leg, weights in made.weights.items():
        np.testing.assert_array_equal(line(strategy, "regime", f"w_{leg}"), weights)
    np.testing.assert_array_equal(line(strategy, "zscores", "z_KO_PEP"), pairs.zscore[:, 0])
    for i, symbol in enumerate(BARS.symbols):
        np.testing.assert_array_equal(line(strategy, "targets", f"target_{symbol}"), made.target[:, i])
    assert strategy.stats.regime.r[0] == strategy.decision.regime


def test_pairs_that_are_found_along_the_way_are_shown_from_there_on() -> None:
    strategy = ran("auto")
    assert strategy.pair_names
    name = f"z_{strategy.pair_names[0]}".replace(":", "_")
    z, made = line(strategy, "zscores", name), strategy.recorder.pairs()
    known = len(made.zscore) - np.flatnonzero(~np.isnan(z))[0]
    assert len(z) == len(strategy) == len(made.zscore) and 100 < known < len(z)
    np.testing.assert_array_equal(z[-known:], made.zscore[-known:, 0])


@pytest.mark.parametrize("modes", [{"stdstats": False}, {"exactbars": 1}])
def test_nothing_is_kept_where_nothing_can_be_plotted(modes: dict[str, object]) -> None:
    strategy = ran(modes=modes)
    assert strategy._thoughts is None and not hasattr(strategy.stats, "regime")


def test_the_account_and_the_decisions_are_those_without() -> None:
    shown, plain = ran(), ran(modes={"stdstats": False})
    assert shown.broker.getvalue() == plain.broker.getvalue()
    np.testing.assert_array_equal(shown.recorder.decisions().target, plain.recorder.decisions().target)


def test_names_that_are_no_identifiers_get_lines_of_their_own() -> None:
    cerebro = bt.Cerebro()
    for feed, name in zip(to_feeds(BARS), ("BRK.B", "BRK-B", "X Y"), strict=True):
        cerebro.adddata(feed, name=name)
    cerebro.addstrategy(HybridStrategy)
    (strategy,) = cerebro.run()
    assert strategy.stats.targets.lines.getlinealiases() == ("target_BRK_B", "target_BRK_B_1", "target_X_Y")
    assert not hasattr(strategy.stats, "zscores")


def test_every_symbol_has_its_own_line_whatever_the_names() -> None:
    """Regression: A., A- and A:_1 had two lines, A__1 twice, so that one showed another's targets."""
    for names in permutations(("A~", "A-", "A__1")):
        cerebro = bt.Cerebro()
        for feed, name in zip(to_feeds(BARS), names, strict=True):
            cerebro.adddata(feed, name=name)
        cerebro.addstrategy(HybridStrategy, record=True)
        (strategy,) = cerebro.run()
        lines, made = strategy.stats.targets.lines.getlinealiases(), strategy.recorder.decisions().target
        for i, name in enumerate(lines):
            np.testing.assert_array_equal(line(strategy, "targets", name), made[:, i])


def test_the_plot_draws_them_without_a_screen(tmp_path: Path) -> None:
    code = """
import test_observers as cases
figures = cases.ran().cerebro.plot(iplot=False)
legends = [axes.get_legend() for axes in figures[0][0].axes]
print([text.get_text() for legend in legends if legend for text in legend.get_texts()])
"""
    screen = ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND")
    environment = {name: value for name, value in os.environ.items() if name not in screen}
    here = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1] / "cases"), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"PYTHONPATH": here},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for label in ("r", "w sac", "w kalman", "z KO:PEP", "KO"):
        assert any(label in text for text in done.stdout.split("'")), done.stdout
