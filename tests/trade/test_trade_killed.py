"""kill -9 at any moment of a replay, submit and answer included: no order twice, none lost, and every bit the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from places import CASES

SCRIPT = """
import os, random, select, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from trade_cases import Desk, small

home, kills, longest, last = Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
market = small(last)
random.seed(kills)

def walking(place, opened):
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        desk = Desk(home / place, market)
        with desk.opened(walks=True) as trader:
            os.write(opened, b".")
            trader.step()
            while trader.broker.walk():
                trader.step()
        assert desk.events() == [], desk.log.alarms
        status = 0
    finally:
        os._exit(status)

came, opened = os.pipe()
(home / "whole").mkdir()
assert os.waitpid(walking("whole", opened), 0)[1] == 0
os.read(came, 1)
os.set_blocking(came, False)
done, place = 0, 0
(home / "0").mkdir()
while done < kills:
    pid = walking(str(place), opened)
    if random.random() < 0.8:  # while it trades; else while it opens and comes back
        select.select([came], [], [], 10.0)
    time.sleep(random.uniform(0.0, longest))
    os.kill(pid, signal.SIGKILL)
    ended = os.waitpid(pid, 0)[1]
    while select.select([came], [], [], 0.0)[0]:
        os.read(came, 64)
    if os.WIFSIGNALED(ended):
        done += 1
    else:  # it came to its end before: another account
        assert ended == 0
        place += 1
        (home / str(place)).mkdir()
assert os.waitpid(walking(str(place), opened), 0)[1] == 0
print(place + 1)
"""


def _killed(tmp_path: Path, kills: int, longest: float, last: str) -> None:
    from test_replay import fills_of

    from hybrid_bt.trade.status import read_standing

    command = [sys.executable, "-c", SCRIPT, str(CASES), str(tmp_path), str(kills), str(longest), last]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3600)
    assert done.returncode == 0, done.stderr
    whole = tmp_path / "whole"
    fills, rows = fills_of(whole / "s.paper"), repr(read_standing(whole / "s").rows)
    assert len(fills) > 100
    for place in map(str, range(int(done.stdout))):
        assert fills_of(tmp_path / place / "s.paper") == fills
        assert repr(read_standing(tmp_path / place / "s").rows) == rows


def test_killed_at_ten_moments(tmp_path: Path) -> None:
    _killed(tmp_path, 10, 0.25, "2020-04-30")


@pytest.mark.slow
def test_killed_at_two_hundred_moments(tmp_path: Path) -> None:
    _killed(tmp_path, 200, 0.3, "2022-12-28")
