"""Flags that several commands share, each declared once, and what they ask for: a market, a task.

Here flags become named arguments; nothing below the commands sees them. Nothing of `hybrid_bt.news` is imported
unless a flag asks for documents.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybrid_bt.commands.console import COUNT, DAY, FILE, Decorator, Finite, Flag, Flags, flag, listed, option
from hybrid_bt.errors import ConfigError
from hybrid_bt.files.workers import workers

if TYPE_CHECKING:
    from hybrid_bt.bars import Bars
    from hybrid_bt.bars.market import Market
    from hybrid_bt.config import Config
    from hybrid_bt.config.task import Case
    from hybrid_bt.news.answers import RiskSetup

#: whose bars lie before 2010: the shipped SAC learned from them, and nothing else is judged on markets left out
MARKETS = ("us20", "olps:nyse_o", "olps:nyse_n", "olps:tse", "olps:sp500")
LAST_TRAINING_DAY = date(2009, 12, 31)  #: of the shipped policies
LONG_BYTES = 8 * 2**20  #: of files, from which on a process for their reading is worth its start, a third of a second

_MODES = click.Choice(["stable", "aggressive"])
_RISKS = click.Choice(["off", "lexicon", "replay", "record", "live"])
_RISK_HELP = "Risk manager that reads documents: by word lists; by verdicts recorded; asking and recording; asking."
_BAD_DATA, _ALIGN = click.Choice(["fail", "mend", "warn"]), click.Choice(["union", "intersection"])
_BAD_DATA_HELP = "Errors in prices: refuse, repair, or leave out the bars that cannot be traded on."
_ALIGN_HELP = "Calendar of several symbols: bars of any, untraded where one has none, or bars that all have."
_STAMPS = click.Choice(["begin", "end"])
_STAMPS_HELP = "Bars are stamped by their beginning, and are moved to their end.  [default: end]"
_ZONE_HELP = "The exchange's, as America/New_York, of dates with a zone.  [default: the calendar's, or their own]"
_CLOCK = (
    option(
        "--calendar",
        metavar="XNYS",
        help="Count days that differ from an exchange's (needs the extra `calendars`).",
    ),
    option("--time-zone", metavar="ZONE", help=_ZONE_HELP),
    option("--stamps", type=_STAMPS, help=_STAMPS_HELP),
    option("--date-format", metavar="%d/%m/%Y", help="Of dates that have two readings, as strptime writes it."),
)

#: of the risk manager, as fields of `RiskSetup` are called
_RISK_FIELDS: dict[str, dict[str, Any]] = {
    "news": {"metavar": "sample|PATH", "help": "Documents: a store, or files.  [default: the embedded sample]"},
    "scorer": {"metavar": "lexicon|URL|module:callable", "help": "Who scores them.  [default: lexicon]"},
    "scorer_model": {"metavar": "NAME", "help": "Model at that URL."},
    "scorer_key_env": {"metavar": "NAME", "help": "Variable of its key.  [default: HYBRID_BT_LLM_KEY]"},
    "scorer_timeout": {"type": Finite(0.1, 86_400.0), "help": "Seconds for an answer.  [default: 60]"},
    "scorer_price": {"type": (Finite(0.0), Finite(0.0)), "metavar": "IN OUT", "help": "US dollars per million tokens."},
    "scorer_jobs": {"type": click.IntRange(1, 64), "help": "Questions at once.  [default: 4]"},
    "verdicts": {"type": FILE, "help": "Recorded verdicts.  [default: verdicts.jsonl]"},
    "calls": {"type": click.IntRange(1, 99), "help": "Calls per question in record; their median counts."},
    "loughran_mcdonald": {"type": FILE, "help": "Your copy of their dictionary (CSV)."},
}

#: flags of numbers that a mode states, and `section_key` in the configuration
_SETTINGS: tuple[tuple[str, str, Any, str], ...] = (
    ("--cash", "account_cash", float, "Start value, currency."),
    ("--use-kalman/--no-kalman", "kalman_enabled", bool, "Kalman leg on or off."),
    ("--use-sac/--no-sac", "sac_enabled", bool, "SAC leg on or off."),
    ("--use-ppo-lstm/--no-ppo-lstm", "gate_enabled", bool, "Regime gate on or off (off: r = 0)."),
    ("--spread-bps", "costs_spread_bps", float, "Bid-ask spread, bps; half is paid per side."),
    ("--fee-bps", "costs_fee_bps", float, "Fee per side, bps of notional."),
    ("--borrow-bps", "costs_borrow_bps_per_year", float, "Interest on shorts, bps per year."),
    ("--eps-trade", "account_eps_trade", float, "Least change of position worth an order, shares."),
    ("--lot", "account_lot", float, "Smallest number of shares; 0 allows fractions."),
    ("--fit-kalman", "kalman_fit", bool, "Fit each pair's noise variances before the trading start."),
    ("--sac", "sac_file", click.Path(), "Frozen policy of your own (.onnx), of assets or of a portfolio."),
    ("--gate", "gate_file", click.Path(), "Frozen gate of your own (.onnx)."),
)


def _setting(name: str, key: str, kind: Flag, words: str) -> Decorator:
    said = {"type": kind, "is_flag": kind is bool, "default": None, "help": f"{words}  [default: the mode's]"}
    return click.option(name, key, **said)


#: flags by what they are about
_SHARED: dict[str, tuple[Decorator, ...]] = {
    "mode": (
        option("--mode", type=_MODES, default="stable", help="Where every number comes from that no flag gives."),
    ),
    "bars": (
        option(
            "--data",
            default="us20",
            metavar="us20|tech6|yahoo|olps:NAME|PATH",
            help="Embedded sample, Yahoo, a set of the extra `markets`, or a folder or file of OHLCV.",
        ),
        listed("--symbols", help="Symbols.  [default: all]"),
        flag("--raw-prices", help="Do not scale prices by adjusted / close."),
        option("--on-bad-data", type=_BAD_DATA, default="fail", help=_BAD_DATA_HELP),
        option("--align", type=_ALIGN, default="union", help=_ALIGN_HELP),
        *_CLOCK,
        option(
            "--resample", metavar="1D|60min", help="Make longer bars, session by session; 1D@17:00 ends sessions then."
        ),
        flag("--offline", help="Take yahoo from its snapshots on disk; call nobody."),
    ),
    "clock": _CLOCK,
    "pairs": (listed("--pairs", metavar="Y:X,...", help="Pairs of the Kalman leg.  [default: the sample's own]"),),
    "markets": (
        listed(
            "--markets",
            metavar="us20,olps:nyse_o,...",
            help="Several markets, each with the pairs that were alike on its first 504 bars.",
        ),
    ),
    "span": (
        option(
            "--start", type=DAY, help="First day traded; earlier bars warm up.  [default: the first out-of-sample bar]"
        ),
        option("--end", type=DAY, help="Last day.  [default: the last bar]"),
    ),
    "config": (option("--config", type=FILE, help="TOML file that overrides the mode; flags override both."),),
    "settings": tuple(_setting(*one) for one in _SETTINGS),
    "in-sample": (
        flag("--allow-in-sample", help="Trade bars that the policies were trained on; every output is marked."),
    ),
    "steps": (
        option("--sac-steps", type=COUNT, default=400_000, help="Environment steps per SAC model."),
        option("--ppo-steps", type=COUNT, default=50_000, help="Environment steps per gate model."),
    ),
    "jobs": (option("--jobs", type=COUNT, default=1, help="Cells or trainings side by side."),),
    "seed": (option("--seed", type=click.IntRange(0), default=0, help="Of shuffles and resamples."),),
    "ledger": (flag("--no-ledger", help="Add no line to runs.jsonl, which lies beside --out."),),
    "json": (flag("--json", "as_json", help="Print JSON instead of text."),),
    "risk": (
        option("--risk", type=_RISKS, default="off", help=_RISK_HELP),
        *(option(f"--{name.replace('_', '-')}", **how) for name, how in _RISK_FIELDS.items()),
    ),
}


def shared(*topics: str) -> Decorator:
    """Decorator that adds the flags of these topics to a command."""

    def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
        for add in reversed([add for topic in topics for add in _SHARED[topic]]):
            function = add(function)
        return function

    return decorated


def config_of(flags: Flags) -> Config:
    """The mode under the file of `config` and the flags of `settings`."""
    from hybrid_bt.config import load_config

    overrides: dict[str, dict[str, Any]] = {}
    for _, place, *_ in _SETTINGS:
        section, _, key = place.partition("_")
        if flags[place] is not None:
            overrides.setdefault(section, {})[key] = flags[place]
    return load_config(flags["mode"], flags["config"], overrides)


def market_of(flags: Flags, *, end: date | None = None) -> Market:
    """The bars that the flags of `bars` and `span` ask for, up to `end`, and the pairs named, else the sample's own."""
    from hybrid_bt.feeds import as_market

    start, last = flags.get("start"), end or flags.get("end")
    if start and last and last <= start:
        raise ConfigError(f"--end {last} is not after --start {start}; exchange them or widen the span")
    bars = _read(flags["data"], symbols=flags["symbols"] or None, end=last, trade_from=start, **_how(flags))
    return as_market(bars, flags.get("pairs") or None)


def _read(source: str, **words: Any) -> Bars:  # noqa: ANN401  those of `load_bars`
    """Bars; long files are read in a process of its own, with which pandas goes, and the room that their texts took."""
    from hybrid_bt.account import give_back
    from hybrid_bt.feeds import SOURCES, load_bars

    size, path = 0, Path(source)
    with suppress(OSError):  # whoever reads it says what is wrong with it
        there = [] if source in SOURCES else [path, *(path.iterdir() if path.is_dir() else ())]
        size = sum(one.stat().st_size for one in there if one.is_file())
    if size < LONG_BYTES:
        return load_bars(source, **words)
    with workers(1, "reading", "free memory, or give fewer bars") as pool:
        bars = pool.submit(load_bars, source, **words).result()
    give_back()
    return bars


def _how(flags: Flags) -> dict[str, Any]:
    words = (
        "raw_prices",
        "on_bad_data",
        "offline",
        "align",
        "resample",
        "calendar",
        "time_zone",
        "stamps",
        "date_format",
    )
    return {name: flags[name] for name in words}


def markets_of(flags: Flags) -> list[Market]:
    """The markets that `--markets` names, each with the pairs of its own first bars, and no bar after `--end` or the
    shipped policies' training: what lies behind it is looked at when nothing can be chosen any more."""
    from hybrid_bt.brain.pair_selection import with_found_pairs
    from hybrid_bt.feeds import load_bars

    end = flags.get("end") or LAST_TRAINING_DAY
    markets = [with_found_pairs(load_bars(name, end=end, **_how(flags))) for name in flags["markets"]]
    names = [market.name for market in markets]
    if len(set(names)) < len(names):
        raise ConfigError(f"--markets: {', '.join(names)} holds one market twice; name each once")
    return markets


def task_of(flags: Flags) -> Case:
    """What is traded, as the flags of `mode`, `bars`, `pairs`, and whichever else there are, ask for it."""
    from hybrid_bt.config.task import as_config, prepare

    config, market = as_config(flags["mode"], flags.get("config")), market_of(flags)
    asked = {"start": flags.get("start"), "allow_in_sample": flags.get("allow_in_sample", False)}
    return prepare(market, flags["mode"], config=config, **asked)


def setup_of(flags: Flags) -> RiskSetup | None:
    """The risk manager that the flags of `risk` ask for; None for `off`.

    Raises
    ------
    ConfigError
        If a flag of the risk manager is given without it.
    """
    given = {name: flags[name] for name in _RISK_FIELDS if flags[name] is not None}
    if flags["risk"] == "off":
        for name in given:
            raise ConfigError(f"--{name.replace('_', '-')} belongs to the risk manager; say --risk lexicon, or more")
        return None
    from hybrid_bt.news.answers import RiskSetup

    return RiskSetup(flags["risk"], **given)
