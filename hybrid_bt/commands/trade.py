"""`hybrid-bt trade`: one bar at a time with a broker, killed at any moment, beside its backtest."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from hybrid_bt.account import collector_paused
from hybrid_bt.brain.journal import said
from hybrid_bt.commands.console import DAY, FILE, Finite, Flag, Flags, command, flag, option
from hybrid_bt.commands.ending import echo
from hybrid_bt.commands.options import shared
from hybrid_bt.commands.trading import Words, print_status, print_step
from hybrid_bt.errors import ConfigError, library

if TYPE_CHECKING:
    from hybrid_bt.trade.log import Log

ALARM, NO_BROKER = 3, 4  #: exit status
LIVE = "HYBRID_BT_LIVE"  #: variable that must be "yes" beside --live
CLOSE_AND = timedelta(minutes=30)  #: after it the close is in the data


class Exchange(Protocol):
    """Of `exchange_calendars`."""

    def next_close(self, moment: datetime) -> datetime: ...


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
@flag("--quiet", "-q", help="Print nothing but errors.")
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
    wait = _closes(flags["calendar"])
    while True:
        time.sleep(wait())
        _session(flags)


def _check(flags: Flags) -> None:
    if flags["replay"] and flags["broker"] != "paper":
        raise ConfigError("--replay walks through past bars, which only --broker paper can; leave it out")
    if flags["tearsheet"]:
        raise ConfigError("--tearsheet belongs to `hybrid-bt trade status`; leave it out")
    if flags["start"] and not flags["replay"]:
        raise ConfigError("--start belongs to --replay: otherwise an account begins on the newest bar; leave it out")
    if flags["replay"] and flags["dry_run"]:
        raise ConfigError("--replay trades past bars, --dry-run none; leave one out")
    if flags["every"] and (flags["replay"] or flags["dry_run"] or not flags["calendar"]):
        raise ConfigError("--every close needs --calendar, for example XNYS, and neither --replay nor --dry-run")
    if flags["live"] and os.environ.get(LIVE) != "yes":
        raise ConfigError(f"--live trades money and is asked for twice over: set {LIVE}=yes in the environment as well")


@contextmanager
def _home(flags: Flags) -> Iterator[Path]:
    """Where the state lies; of a dry run, a copy of it."""
    state: Path = flags["state"]
    if not flags["dry_run"]:
        yield state
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / state.name
        for file in state.absolute().parent.glob(f"{state.name}*"):
            shutil.copy(file, copy.with_name(file.name))
        yield copy


@collector_paused()
def _session(flags: Flags) -> int:
    """Open, step and close; the exit status."""
    from hybrid_bt.trade.brokers import BrokerError
    from hybrid_bt.trade.log import Log
    from hybrid_bt.trade.status import log_of

    words = Words(flags)  # what cannot be read is refused before anything is made
    with _home(flags) as state:
        state.parent.mkdir(parents=True, exist_ok=True)
        log = Log(None if flags["dry_run"] else log_of(state), flags["on_alarm"] or "")
        try:
            _step(words, state, log)
        except BrokerError as error:
            log.alarm("broker", str(error))
            echo(f"error: {error}", err=True)
            return NO_BROKER
        finally:
            log.close()
        if not (flags["dry_run"] or flags["no_plots"]):
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
            step = trader.step()
            while walks and broker.walk():  # type: ignore[attr-defined]  # of paper alone
                step = trader.step()
            if step is not None:
                how = "json" if flags["as_json"] else "" if flags["quiet"] else "text"
                print_step(trader, step, how, is_dry=is_dry)
            elif not flags["quiet"]:
                _print_nothing(said(trader.state.numbers[trader.state.row]), flags)


def _print_nothing(bar: str, flags: Flags) -> None:
    echo(json.dumps({"bar": None, "last": bar}) if flags["as_json"] else f"nothing new since {bar}")


def _write_page(state: Path, flags: Flags) -> None:
    from hybrid_bt.trade.page import write_page, write_tearsheet
    from hybrid_bt.trade.status import read_standing

    folder, name, standing = flags["folder"], state.name, read_standing(state)
    folder.mkdir(parents=True, exist_ok=True)
    write_page(standing, name, folder)
    if flags["tearsheet"]:
        write_tearsheet(standing, name, folder)


def _closes(calendar: str) -> Callable[[], float]:
    """Seconds to the next close of an exchange and a while, whenever it is asked."""
    found = library("exchange_calendars", "calendars", "--every close").get_calendar(calendar)
    return partial(seconds_to_close, found, lambda: datetime.now(UTC))


def seconds_to_close(calendar: Exchange, now: Callable[[], datetime]) -> float:
    """To the next close and `CLOSE_AND`."""
    moment = now()
    close = calendar.next_close(moment - CLOSE_AND)
    return max((close + CLOSE_AND - moment).total_seconds(), 0.0)


if __name__ == "__main__":
    main()
