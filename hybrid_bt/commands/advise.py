"""`hybrid-bt advise`: what to hold tomorrow, from a file of prices and what is held today."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hybrid_bt.account import collector_paused
from hybrid_bt.commands.console import DAY, FILE, Flag, command, flag, option
from hybrid_bt.commands.options import shared
from hybrid_bt.commands.trading import Words, print_alarms, print_step
from hybrid_bt.errors import ConfigError


@command(example="advise --data us20 --cash 100000")
@shared("mode", "bars", "pairs", "in-sample")
@option("--holdings", type=FILE, metavar="H.csv", help="What is held: symbol,shares; the cash as a row `cash,10000`.")
@option("--until", type=DAY, help="Look at no bar after this day.  [default: the last bar]")
@shared("settings", "config", "risk")
@flag("--csv", "as_csv", help="Print CSV instead of text.")
@shared("json")
def main(**flags: Flag) -> None:
    """What to hold tomorrow, and the orders that lead there, by the closes up to yesterday.

    --cash is the cash at hand. It decides and sizes as `hybrid-bt trade` does, sends nothing and keeps nothing.
    Research and education, not financial advice.
    """
    from hybrid_bt.trade.holdings import HeldBroker, read_holdings
    from hybrid_bt.trade.log import Log
    from hybrid_bt.trade.trader import Trader

    if flags["as_csv"] and flags["as_json"]:
        raise ConfigError("--csv and --json contradict each other; give one of them")
    words = Words(flags)
    if flags["holdings"] is None and flags["account_cash"] is None:
        raise ConfigError("advise needs what is held: --holdings H.csv, --cash AMOUNT, or both")
    symbols = words.market.bars.symbols
    cash, held = (None, {}) if flags["holdings"] is None else read_holdings(flags["holdings"], symbols)
    if cash is not None and flags["account_cash"] is not None:
        raise ConfigError(f"the cash is said twice, {cash:,.2f} in the file and --cash; leave one out")
    at_hand = flags["account_cash"] if cash is None else cash
    broker = HeldBroker(words.market.bars, at_hand or 0.0, held)
    with tempfile.TemporaryDirectory() as folder, collector_paused():
        reads = words.reads(words.plan.symbols)
        trader = Trader(broker, words.plan, Path(folder) / "state", Log(None), reads=reads, is_dry=True)
        step = trader.step()
        assert step is not None  # a new account has not traded the last bar
        print_step(trader, step, "csv" if flags["as_csv"] else "json" if flags["as_json"] else "text", is_dry=True)
        print_alarms(trader.log.alarms)
        trader.close()


if __name__ == "__main__":
    main()
