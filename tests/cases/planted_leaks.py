"""Strategies that know more than they may, each in its own way, and some that do not."""

from __future__ import annotations

import math
import random
from statistics import fmean, pstdev
from typing import Any, ClassVar

import backtrader as bt

from hybrid_bt.config import load_config
from hybrid_bt.equations import kalman

PERIOD = 10


class SmaCross(bt.Strategy):
    """Clean."""

    params = (("fast", 5), ("slow", 15))

    def __init__(self) -> None:
        fast, slow = (bt.indicators.SMA(self.data, period=period) for period in (self.p.fast, self.p.slow))
        self.cross = bt.indicators.CrossOver(fast, slow)

    def next(self) -> None:
        if self.cross[0] > 0.0:
            self.order_target_percent(target=0.9)
        elif self.cross[0] < 0.0:
            self.close()


class ManyClean(bt.Strategy):
    """Clean, with indicators of indicators, lines of its own, several feeds, stops, limits and an observer."""

    lines = ("edge",)

    def __init__(self) -> None:
        self.macd = bt.indicators.MACDHisto(self.data0)
        self.rsi = bt.indicators.RSI(self.data1, period=7)
        self.smooth = bt.indicators.EMA(self.rsi - 50.0, period=5)
        self.band = bt.indicators.BollingerBands(self.data0, period=12)
        self.ratio = self.data0.close / self.data1.close
        bt.observers.DrawDown()

    def next(self) -> None:
        self.lines.edge[0] = self.smooth[0] * self.macd.histo[0]
        size, close = self.getposition(self.data0).size, self.data0.close[0]
        if not size and close < self.band.mid[0]:
            self.buy_bracket(
                data=self.data0, size=10, price=close * 0.999, stopprice=close * 0.97, limitprice=close * 1.02
            )
        self.order_target_size(self.data1, 20 if self.smooth[0] > 0.0 else -20)


class Centred(bt.Indicator):
    """Mean of bars before and after."""

    lines = ("mid",)

    def next(self) -> None:
        self.lines.mid[0] = self.data[0]

    def once(self, start: int, end: int) -> None:
        for i in range(start, end):
            self.lines.mid.array[i] = fmean(self.data.array[max(i - 3, 0) : i + 4])


class CentredWindow(bt.Strategy):
    def __init__(self) -> None:
        self.mid = Centred(self.data)

    def next(self) -> None:
        self.order_target_size(target=10 if self.data[0] < self.mid[0] else 0)


class Wrapped(bt.Indicator):
    lines = ("side",)

    def __init__(self) -> None:
        self.lines.side = self.data > Centred(self.data) * 0.01


class HiddenCentredWindow(bt.Strategy):
    """The leak is an indicator inside an indicator and hardly ever moves what the outer one says."""

    def __init__(self) -> None:
        self.side = Wrapped(self.data)


class ScalerFittedOnAll(bt.Strategy):
    """Standardises by mean and deviation of the whole history; moves orders only."""

    def __init__(self) -> None:
        closes = list(self.data.close.array)
        self.mean, self.sd = fmean(closes), pstdev(closes)

    def next(self) -> None:
        self.order_target_value(target=-1e5 * (self.data.close[0] - self.mean) / self.sd)


class PosteriorResidual(bt.Strategy):
    """Trades the residual that has seen the bar, at that bar's close."""

    def start(self) -> None:
        self.broker.set_coc(True)
        self.filter = load_config("stable").kalman_params
        self.state = kalman.initial_state(self.filter)

    def next(self) -> None:
        y, x = (math.log(data.close[0]) for data in self.datas[:2])
        self.state = kalman.step(self.state, y, x, self.filter)
        residual = y - self.state.alpha - self.state.beta * x
        for data, side in ((self.data0, -1), (self.data1, 1)):
            self.order_target_size(data, 100 * side if residual > 0.0 else -100 * side)


class ShiftedIndex(bt.Strategy):
    """Reads tomorrow's close where there is one."""

    def next(self) -> None:
        if len(self.data) < self.data.buflen():
            self.order_target_size(target=10 if self.data.close[1] > self.data.close[0] else 0)


class NakedShiftedIndex(bt.Strategy):
    """Reads tomorrow's close, and falls off the end."""

    def next(self) -> None:
        self.order_target_size(target=10 if self.data.close[1] > self.data.close[0] else 0)


class Ahead(bt.Indicator):
    lines = ("ahead",)

    def once(self, start: int, end: int) -> None:
        for i in range(start, end):
            self.lines.ahead.array[i] = self.data.array[min(i + 1, end - 1)]


class ShiftedOnce(bt.Strategy):
    def __init__(self) -> None:
        self.ahead = Ahead(self.data)


def week_of(data: Any, ago: int) -> tuple[int, ...]:
    return tuple(data.datetime.date(ago).isocalendar()[:2])


class WeeklySeenEarly(bt.Strategy):
    """Weekly closes worked out beforehand, and looked up by week."""

    def __init__(self) -> None:
        self.weekly = {}
        for number, close in zip(self.data.datetime.array, self.data.close.array, strict=True):
            self.weekly[tuple(bt.num2date(number).isocalendar()[:2])] = close

    def next(self) -> None:
        self.order_target_size(target=10 if self.weekly[week_of(self.data, 0)] > self.data.close[0] else 0)


class Idle(bt.Strategy):
    """Does nothing; what its feeds say is looked at all the same."""


class LastFeed(bt.Strategy):
    """Clean: trades the first feed by an average of the last."""

    def __init__(self) -> None:
        self.slow = bt.indicators.SMA(self.datas[-1], period=3)

    def next(self) -> None:
        self.order_target_size(target=10 if self.data.close[0] > self.slow[0] else 0)


class Broken(bt.Strategy):
    def next(self) -> None:
        raise ValueError("no such thing")


class Patient(bt.Strategy):
    """Waits longer than there are bars."""

    def __init__(self) -> None:
        bt.indicators.SMA(self.data, period=190)


class Cloud(bt.Strategy):
    """Clean: its indicator draws a line nine bars back, and no order depends on that one."""

    def __init__(self) -> None:
        lags = {"tenkan": 5, "kijun": 9, "senkou": 12, "senkou_lead": 9, "chikou": 9}
        self.cloud = bt.indicators.Ichimoku(self.data, **lags)

    def next(self) -> None:
        self.order_target_size(target=10 if self.cloud.tenkan_sen[0] > self.cloud.kijun_sen[0] else 0)


class CloudSeenEarly(Cloud):
    def next(self) -> None:
        self.order_target_size(target=10 if self.cloud.chikou_span[0] > self.data.close[0] else 0)


class Unseeded(bt.Strategy):
    """Draws once in a while: most runs agree."""

    params = (("often", 0.5),)

    def next(self) -> None:
        if random.random() < self.p.often:
            self.order_target_size(target=random.choice((0, 10)))


class OnItsClass(bt.Strategy):
    """Remembers the run before."""

    seen: ClassVar[list[float]] = []

    def next(self) -> None:
        self.seen.append(self.data.close[0])
        self.order_target_size(target=10 if self.data.close[0] > fmean(self.seen) else 0)


class OtherFromThirdRun(bt.Strategy):
    runs = 0

    def start(self) -> None:
        type(self).runs += 1

    def next(self) -> None:
        self.order_target_size(target=len(self) // (1 if self.runs > 2 else 2) % 2)


class LeavesAtTheEnd(SmaCross):
    def next(self) -> None:
        self.close() if len(self.data) >= self.data.buflen() - 1 else super().next()


class MonthEnds(SmaCross):
    """Reads tomorrow's date."""

    def next(self) -> None:
        last = (
            len(self.data) < self.data.buflen() and self.data.datetime.date(1).month != self.data.datetime.date().month
        )
        self.order_target_size(target=10 if last else 0)


class NakedMonthEnds(bt.Strategy):
    def next(self) -> None:
        self.order_target_size(target=10 * (self.data.datetime.date(1).month != self.data.datetime.date().month))


class MadeBeforehand(bt.Strategy):
    """Signals of a file, say: by date."""

    def next(self) -> None:
        print("a strategy may print")
        self.order_target_size(target=10 if self.data.datetime.date().toordinal() % 7 == 3 else 0)


class Leaves(SmaCross):
    def next(self) -> None:
        raise SystemExit(0)


CLEAN = ("SmaCross", "ManyClean", "Idle")
LEAKS = {
    "CentredWindow": "mid (Centred).mid",
    "CloudSeenEarly": "order",
    "ScalerFittedOnAll": "order",
    "PosteriorResidual": "price of a market order",
    "ShiftedIndex": "order",
    "NakedShiftedIndex": "the last bar",
    "WeeklySeenEarly": "order",
}
#: lines that know later bars, and no order that depends on them
LINES = {
    "Cloud": "cloud (Ichimoku).chikou_span",
    "HiddenCentredWindow": "side (Wrapped)/",
    "ShiftedOnce": "ahead (Ahead).ahead",
}
ENDS = ("LeavesAtTheEnd", "MonthEnds", "NakedMonthEnds")
UNREPEATABLE = {"Unseeded": (), "Unseeded often": ("often=0.002",), "OnItsClass": (), "OtherFromThirdRun": ()}
