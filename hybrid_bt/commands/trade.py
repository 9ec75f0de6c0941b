"""`hybrid-bt trade`: one bar at a time with a broker, killed at any moment, beside its backtest."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Never

import click
import numpy as np

from hybrid_bt.account import collector_paused
from hybrid_bt.brain.journal import said
from hybrid_bt.commands.console import DAY, FILE, Finite, Flag, Flags, command, flag, option
from hybrid_bt.commands.ending import echo
from hybrid_bt.commands.options import shared
from hybrid_bt.commands.trading import Words, print_alarms, print_status, print_step
from hybrid_bt.errors import ConfigError, HybridError

if TYPE_CHECKING:
    from hybrid_bt.trade.log import Log

ALARM, NO_BROKER = 3, 4  #: exit status
LIVE = "HYBRID_BT_LIVE"  #: variable that must be "yes" beside --live
CLOSE_AND = timedelta(minutes=30)  #: after it the close is in the data
SESSIONS = timedelta(days=40)  #: that an exchange is looked up for
NAP = 60.0  #: seconds; a machine that slept is late by no more


@command(example="trade --broker paper --state my.state --data us20")
@click.argument("what", type=click.Choice(["status"]), required=False)
@shared("mode", "bars", "pairs", "in-sample")
@option("--broker", default="paper", metavar="paper|NAME", help="Who trades; paper is embedded and needs no network.")
@option("--state", type=FILE, required=True, metavar="FILE", help="Where the account's rows are kept; made if missing.")
@flag("--dry-run", help="Print the orders and why; send and write nothing.")
@flag("--replay", help="Walk through past bars, one after the other, as if each were the last; paper only.")
@option("--start", type=DAY, help="First day of a new account under --replay.  [default: the first out-of-sample bar]")
@option("--until", type=DAY, help="Look at no bar after this day.  [default: the last bar]")
@option("--every", type=click.Choice(["close"]), help="Stay, and step after every close of --calendar.")
@option("--on-alarm", metavar="CMD", help="Command that gets each alarm, a line of JSON, on its standard input.")
@option("--tolerance-bps", type=Finite(0.0), default=25.0, help="Of equity and prices, broker against backtest.")
@flag("--live", help=f"Trade money, if {LIVE}=yes is set as well.")
@shared("settings", "config", "risk")
@option("--out", "folder", type=FILE, default=Path("fig"), help="Folder of live.html.")
@flag("--no-plots", help="Write no live.html.")
@flag("--tearsheet", help="With status: write live_tearsheet.html as well, quantstats' report beside the backtest.")
@flag("--quiet", "-q", help="Print nothing but errors and alarms.")
@shared("json")
@click.pass_context
def main(ctx: click.Context, /, **flags: Flag) -> None:
    """Trade the newest closed bar with a broker, once: run it every evening; `status` says how the account stands.

    What is decided is what `hybrid-bt run` decides, and orders come from the broker's own account. It may be killed at
    any moment: start it again with the same words. Exit status 3 is an alarm, 4 a broker that cannot be had. Research
    and education, not financial advice.
    """
    if flags["what"] == "status":
        print_status(flags["state"], as_json=flags["as_json"])
        if flags["tearsheet"]:
            _write_page(flags["state"], flags)
        return
    _check(flags)
    if flags["every"] is None:
        ctx.exit(_session(flags))
    stay(partial(_session, flags), flags["calendar"], lambda: datetime.now(UTC), time.sleep)


def _check(flags: Flags) -> None:
    walks, dry, every = flags["replay"], flags["dry_run"], flags["every"]
    for refused, why in (
        (flags["state"].is_dir(), f"--state {flags['state']} is a folder; name a file in it"),
        (walks and flags["broker"] != "paper", "--replay walks through the past, as only --broker paper can"),
        (flags["tearsheet"], "--tearsheet belongs to `hybrid-bt trade status`; leave it out"),
        (flags["start"] and not walks, "--start belongs to --replay; else an account begins on the newest bar"),
        (walks and dry, "--replay trades past bars, --dry-run none; leave one out"),
        (every and (walks or dry), "--every close trades what comes; leave --replay and --dry-run out"),
        (every and not flags["calendar"], "--every close needs --calendar, for example XNYS"),
        (
            flags["live"] and os.environ.get(LIVE) != "yes",
            f"--live trades money: set {LIVE}=yes as well, or leave it out",
        ),
    ):
        if refused:
            raise ConfigError(why)


@collector_paused()
def _session(flags: Flags) -> int:
    """Open, step and close; the exit status."""
    from hybrid_bt.trade.brokers import BrokerError
    from hybrid_bt.trade.log import Log
    from hybrid_bt.trade.status import copy_of, log_of

    begun = flags["state"].exists()
    words = None if begun else Words(flags)  # what cannot be read is refused before anything is made
    with copy_of(flags["state"]) if flags["dry_run"] else nullcontext(flags["state"]) as state:
        state.parent.mkdir(parents=True, exist_ok=True)
        if draws := not (flags["dry_run"] or flags["no_plots"]):
            flags["folder"].mkdir(parents=True, exist_ok=True)  # what cannot be drawn is refused before it is traded
        log = Log(None if flags["dry_run"] else log_of(state), flags["on_alarm"] or "")
        try:
            _step(words or Words(flags), state, log)
        except HybridError as error:  # nobody may be there to read it
            is_away = isinstance(error, BrokerError)
            log.alarm("broker" if is_away else "refused", str(error))
            if not is_away:
                raise
            echo(f"error: {error}", err=True)
            return NO_BROKER
        finally:
            log.close()
        print_alarms(log.alarms)
        if draws:
            _write_page(state, flags)
    return ALARM if log.alarms else 0


def _step(words: Words, state: Path, log: Log) -> None:
    from hybrid_bt.trade.brokers import Place, open_broker
    from hybrid_bt.trade.trader import Trader

    flags, plan = words.flags, words.plan
    walks, is_dry = flags["replay"], flags["dry_run"]
    account = words.config.account.cash, words.config.costs
    first = words.first() if walks else None
    place = Place(state, lambda: words.market.bars, *account, first, walks=walks, live=flags["live"])
    with closing(open_broker(flags["broker"], place)) as broker:
        reads = words.reads(plan.symbols)
        with closing(Trader(broker, plan, state, log, reads=reads, walks=walks, is_dry=is_dry)) as trader:
            began = trader.state.bars.stamps[trader.state.first]
            if flags["start"] and began != first:
                day, where = f"{began:.10}", "leave --start out to go on, or name another state"
                raise ConfigError(f"--start {flags['start']}: the account of {flags['state']} began on {day}; {where}")
            step = trader.step()
            while walks and broker.walk():  # type: ignore[attr-defined]  # of paper alone
                step = trader.step()
            if step is not None:
                how = "json" if flags["as_json"] else "" if flags["quiet"] else "text"
                print_step(trader, step, how, is_dry=is_dry)
            elif not flags["quiet"]:
                bar = said(trader.state.numbers[trader.state.row])
                echo(json.dumps({"bar": None, "last": bar}) if flags["as_json"] else f"nothing new since {bar}")


def _write_page(state: Path, flags: Flags) -> None:
    from hybrid_bt.trade.page import write_page, write_tearsheet
    from hybrid_bt.trade.status import read_standing

    folder, name, standing = flags["folder"], state.name, read_standing(state)
    folder.mkdir(parents=True, exist_ok=True)
    write_page(standing, name, folder)
    if flags["tearsheet"]:
        write_tearsheet(standing, name, folder)


def stay(
    step: Callable[[], object], calendar: str, now: Callable[[], datetime], sleep: Callable[[float], object]
) -> Never:
    """Step `CLOSE_AND` behind every close; at once as well, where a session is over and the next one has not begun."""
    from hybrid_bt.feeds.overlap import exchange

    has_stepped = False
    while True:
        moment = now()
        found = exchange(calendar, *(np.datetime64((moment + way).date()) for way in (-SESSIONS, SESSIONS)))
        between = all(found.next_open(at) < found.next_close(at) for at in (moment, moment - CLOSE_AND))
        due = moment if between and not has_stepped else found.next_close(moment - CLOSE_AND) + CLOSE_AND
        while (left := (due - now()).total_seconds()) > 0.0:
            sleep(min(left, NAP))
        step()
        has_stepped = True


if __name__ == "__main__":
    main()
