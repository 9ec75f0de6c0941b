"""What `trade` and `advise` share: what their flags name, and how it is printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hybrid_bt.brain.journal import said
from hybrid_bt.commands.console import Flags
from hybrid_bt.commands.ending import echo
from hybrid_bt.commands.options import config_of, market_of, setup_of
from hybrid_bt.commands.tables import Table, say
from hybrid_bt.files.texts import cell, csv_of_rows, plain

if TYPE_CHECKING:
    import numpy as np

    from hybrid_bt.bars import Bars
    from hybrid_bt.bars.market import Market
    from hybrid_bt.trade.trader import Reads, Step, Trader
    from hybrid_bt.trade.words import Line

MOST_ALARMS = 5  #: printed, the latest; the log has them all


class Words:
    """What the flags name; an account and bars that the broker has itself are not read."""

    def __init__(self, flags: Flags) -> None:
        from hybrid_bt.config.build import load_policies
        from hybrid_bt.trade.trader import Plan

        self.flags, self.config = flags, config_of(flags)
        own = flags.get("broker", "paper") != "paper" and bool(flags["symbols"])
        symbols = tuple(flags["symbols"]) if own else self.market.bars.symbols
        pairs = tuple(flags["pairs"]) if own else self.market.pairs
        more = flags["allow_in_sample"], flags.get("tolerance_bps", 0.0), load_policies(self.config)
        self.plan = Plan(flags["mode"], self.config, symbols, pairs, *more)

    @cached_property
    def market(self) -> Market:
        """With all bars that there are, wherever a replay begins: a later evening must come to the same decisions."""
        return market_of({**self.flags, "start": None}, end=self.flags["until"])

    def first(self) -> np.datetime64:
        """The bar that a replay begins on."""
        from hybrid_bt.config.task import prepare

        flags = self.flags
        asked = {"start": flags["start"], "allow_in_sample": flags["allow_in_sample"], "fills_later": True}
        case = prepare(self.market, flags["mode"], config=self.config, **asked)
        return case.market.bars.stamps[case.row]  # type: ignore[no-any-return]

    def reads(self, symbols: tuple[str, ...]) -> Callable[[Bars], Reads] | None:
        """Documents, where a flag asks for them."""
        setup = setup_of(self.flags)
        if setup is None:
            return None
        from hybrid_bt.news.desk import open_desk

        desk = open_desk(setup, self.config.news, symbols)
        return lambda bars: desk.stage(bars.stamps, bars.n_bars)


def print_step(trader: Trader, step: Step, how: str, *, is_dry: bool) -> None:
    """What was decided and ordered, and why, as "text", "csv" or "json"."""
    from hybrid_bt.trade.words import Line, lines_of, regime_words

    lines, holdings = lines_of(trader, step), step.holdings
    if how == "csv":
        echo(*csv_of_rows([Line._fields, *lines]).splitlines())
    elif how == "json":
        orders = [order._asdict() for order in step.sized.orders]
        told = {"bar": said(step.stamp), "equity": holdings.equity, "cash": holdings.cash, "orders": orders}
        told |= {"lines": [line._asdict() for line in lines], "alarms": trader.log.alarms}
        echo(json.dumps(plain(told)))
    elif how == "text":
        did = "to send" if is_dry else "sent"
        money = f"equity {holdings.equity:,.2f}, cash {holdings.cash:,.2f}"
        title = f"{said(step.stamp)}: {money}, {len(step.sized.orders)} orders {did}"
        _print_lines(lines, regime_words(step.decision), title)


def print_alarms(alarms: Sequence[Mapping[str, object]]) -> None:
    """To standard error, whatever else is silent."""
    for one in alarms[-MOST_ALARMS:]:
        say(f"ALARM {one['event']}: {one['why']}", hang=4, err=True)


def _print_lines(lines: Sequence[Line], regime: str, title: str) -> None:
    head = ["symbol", "held", "target %", "target shares", "order", "value"]
    rows = [
        [
            line.symbol,
            f"{line.held:,.6g}",
            cell(line.target_pct, "+.2f", "keep"),
            f"{line.target_shares:,.6g}",
            *((f"{line.order:+,.6g}", f"{line.value:,.2f}") if line.order else "--"),
        ]
        for line in lines
    ]
    say(Table(head, rows, left=("symbol",), title=title))
    say(regime, *(f"{line.symbol}: {line.reason}" for line in lines), hang=4)


def print_status(state: Path, *, as_json: bool) -> None:
    """How an account stands."""
    from hybrid_bt.trade.status import document, read_standing

    told = document(read_standing(state))
    if as_json:
        echo(json.dumps(plain(told)))
        return
    apart = "-" if told["difference_bps"] is None else f"{told['difference_bps']:+.2f}"
    say(
        f"{told['bar']}, {told['bars']} bars since {told['begun']}",
        f"equity {told['equity']:,.2f}, in a backtest {told['backtest_equity']:,.2f} ({apart} bps)",
        f"cash {told['cash']:,.2f}; {told['fills']} fills, slippage {told['slippage_bps']:+.2f} bps",
    )
    both = told["positions"], told["backtest_positions"]
    rows = [[symbol, *(f"{of.get(symbol, 0.0):,.6g}" for of in both)] for symbol in sorted({*both[0], *both[1]})]
    say(Table(["symbol", "held", "in a backtest"], rows, left=("symbol",)))
    say(*(f"pending: {order['size']:+,.6g} {order['symbol']}" for order in told["pending"]))
    say(f"{told['alarms']} alarms")
    say(*(f"{one['time']} {one['event']}: {one['why']}" for one in told["last_alarms"][-MOST_ALARMS:]), hang=4)
