"""What a run keeps of a bar to its end: memory grows with the bars, and slowly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import sys
from pathlib import Path
import numpy as np
from hybrid_bt.backtest import run_backtest
from hybrid_bt.bars import Bars
from hybrid_bt.bars.market import Market

n, engine, out = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
moves = np.random.default_rng(0).normal(0.0, 2e-4, (n, 2))
close = 100.0 * np.exp(moves.cumsum(axis=0))
days = np.arange("2012-01-02", np.datetime64("2012-01-02") + n // 390 + 1, dtype="M8[D]").astype("M8[ns]")
stamps = (days[:, None] + np.arange(570, 960) * np.timedelta64(60_000_000_000, "ns")).reshape(-1)[:n]
market = Market("minutes", Bars.checked("minutes", ("AA", "BB"), stamps, close), ("AA:BB",))
run_backtest(market, engine=engine, allow_in_sample=True).write(out, plots=False)
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize(("engine", "bars", "most"), [("replay", 150_000, 500.0), ("backtrader", 60_000, 700.0)])
def test_a_bar_of_two_symbols_keeps_a_few_hundred_bytes(engine: str, bars: int, most: float, tmp_path: Path) -> None:
    peaks = []
    for n in (bars, 2 * bars):
        given = [sys.executable, "-W", "ignore", "-c", RUN, str(n), engine, str(tmp_path / str(n))]
        done = subprocess.run(given, capture_output=True, text=True, check=True)
        peaks.append(float(done.stdout) * 1024.0)
    assert (peaks[1] - peaks[0]) / bars < most
