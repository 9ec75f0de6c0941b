"""A plugin of pytest: Backtrader's own tests, with an `ArrayFeed` wherever they ask for their feed of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import backtrader as bt
import pandas as pd
import pytest

from hybrid_bt.feeds import ArrayFeed

FEWEST = 80  #: tests in the source archive
DAY_END = pd.Timedelta("23:59:59.999990")
made: list[Path] = []


def of_file(dataname: str, **span: Any) -> ArrayFeed:
    """What BacktraderCSVData reads of the file, its name and its stamps included."""
    path = Path(dataname)
    frame = pd.read_csv(path, index_col=0, parse_dates=True)
    made.append(path)
    return ArrayFeed(dataname=frame.set_index(frame.index + DAY_END), name=path.stem, **span)


@pytest.fixture(autouse=True, scope="session")
def array_feed() -> None:
    import testcommon

    assert testcommon.DATAFEED is bt.feeds.BacktraderCSVData
    testcommon.DATAFEED = of_file


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run that tests nothing must not pass."""
    if session.testscollected < FEWEST or not made:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
