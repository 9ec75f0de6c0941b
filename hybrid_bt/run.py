"""`python -m hybrid_bt.run`: backtest the hybrid and write its report."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybrid_bt.collector import collector_paused, end_without_collecting
from hybrid_bt.console import (
    DAY,
    comma_list,
    command,
    config_option,
    data_option,
    data_options,
    load_asked,
    mode_option,
    pairs_option,
    progress_bar,
    symbols_option,
)
from hybrid_bt.errors import ConfigError
from hybrid_bt.news_options import risk_options, setup_of
from hybrid_bt.trials import (
    LEDGER,
    append_trial,
    check_ledger,
    configuration_key,
    count_trials,
    read_trials,
    trial_of,
    trial_sharpes,
)

if TYPE_CHECKING:
    from hybrid_bt.backtest import Request
    from hybrid_bt.config import Config
    from hybrid_bt.records import RunRecord

#: flags of numbers that a mode states, and their keys in the configuration
_SETTINGS: tuple[tuple[str, str, Any, str], ...] = (
    ("--cash", "account.cash", float, "Start value, currency."),
    ("--use-kalman/--no-kalman", "kalman.enabled", bool, "Kalman leg on or off."),
    ("--use-sac/--no-sac", "sac.enabled", bool, "SAC leg on or off."),
    ("--use-ppo-lstm/--no-ppo-lstm", "gate.enabled", bool, "Regime gate on or off (off: r = 0)."),
    ("--spread-bps", "costs.spread_bps", float, "Bid-ask spread, bps; half is paid per side."),
    ("--fee-bps", "costs.fee_bps", float, "Fee per side, bps of notional."),
    ("--borrow-bps", "costs.borrow_bps_per_year", float, "Interest on shorts, bps per year."),
    ("--eps-trade", "account.eps_trade", float, "Least change of position worth an order, shares."),
    ("--lot", "account.lot", float, "Smallest number of shares; 0 allows fractions."),
    ("--fit-kalman", "kalman.fit", bool, "Fit each pair's noise variances before the trading start."),
    ("--sac", "sac.file", click.Path(), "Frozen SAC policy of your own (.onnx)."),
    ("--gate", "gate.file", click.Path(), "Frozen gate of your own (.onnx)."),
)


def _setting_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for flag, key, kind, words in reversed(_SETTINGS):
        said = {"type": kind, "is_flag": kind is bool, "default": None, "help": f"{words}  [default: the mode's]"}
        function = click.option(flag, key.replace(".", "_"), **said)(function)
    return function


@command()
@mode_option
@data_option
@symbols_option
@pairs_option
@click.option(
    "--start", type=DAY, help="First day traded; earlier bars warm up.  [default: the first out-of-sample bar]"
)
@click.option("--end", type=DAY, help="Last day.  [default: the last bar]")
@_setting_options
@data_options
@click.option(
    "--benchmark",
    default="equal-weight",
    show_default=True,
    metavar="SYMBOL|equal-weight",
    help="Buy and hold of what.",
)
@click.option(
    "--allow-in-sample", is_flag=True, help="Trade bars that the policies were trained on; every output is marked."
)
@config_option
@risk_options
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep the state here, a row a bar; if it is there already, go on from it.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("fig"), show_default=True, help="Folder of the report."
)
@click.option(
    "--plot-symbols",
    callback=comma_list,
    metavar="A,B,C",
    help="Whose fills trades.png shows; up to 4 are drawn large, with positions.  [default: the most traded, small]",
)
@click.option("--no-plots", is_flag=True, help="CSV and run.json only.")
@click.option("--no-ledger", is_flag=True, help="Add no line to runs.jsonl, which lies beside --out.")
@click.option("--open", "open_page", is_flag=True, help="Open the decision explorer in the browser when done.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object instead of a table.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors, and draw no progress bar.")
@click.option("--verbose", "-v", is_flag=True, help="Print every file written, and the seconds.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Recorded in run.json; a run draws no random numbers."
)
@click.option("--sac-steps", type=int, hidden=True, help="Belongs to `hybrid-bt train`.")
@click.option("--tensorboard-log", type=click.Path(), hidden=True, help="Belongs to `hybrid-bt train`.")
def main(**flags: Any) -> None:
    """Backtest the hybrid: Kalman pairs and a frozen SAC policy, mixed by a regime gate, through Backtrader's broker.

    Numbers without a default come from the mode (hybrid_bt/modes/*.toml). Writes CSV, PNG, tearsheet.html and
    run.json under --out. Research and education, not financial advice.
    """
    for flag in ("sac_steps", "tensorboard_log"):
        if flags.pop(flag) is not None:
            raise ConfigError(f"--{flag.replace('_', '-')} belongs to training: python -m hybrid_bt.train sac --help")
    _check_span(flags["start"], flags["end"])
    _check_talk(flags)
    _check_out(flags["out"])
    if not flags["no_ledger"]:
        check_ledger(_ledger(flags["out"]))
    from hybrid_bt.announce import Talk, announce, open_page
    from hybrid_bt.report import write_report

    end_without_collecting()
    with collector_paused():
        request = _request(flags)
        record = _backtest(request, flags["quiet"])
        said = "" if flags["no_plots"] else _claim(record, flags["out"])
        paths = write_report(
            record,
            flags["out"],
            plots=not flags["no_plots"],
            claim=said,
            plot_symbols=flags["plot_symbols"],
        )
    if not flags["no_ledger"]:
        _remember(record, flags["out"])
    talk = Talk(as_json=flags["as_json"], quiet=flags["quiet"], verbose=flags["verbose"], claim=said)
    announce(record, paths, flags["out"], talk)
    if flags["open_page"]:
        open_page(paths)


def _remember(record: RunRecord, out: Path) -> None:
    """One line in the ledger beside the report's folder."""
    from hybrid_bt.report.tables import account_summary

    summary, known = account_summary(record, "hybrid"), {"data_sha256": record.facts["data"]["sha256"]}
    entry = trial_of(
        "run", record.bars, record.config, _policies(record), summary, in_sample=bool(record.in_sample.any()), **known
    )
    append_trial(_ledger(out), entry)


def _policies(record: RunRecord) -> dict[str, str]:
    return {name: policy["sha256"] for name, policy in record.facts["policies"].items()}


def _ledger(out: Path) -> Path:
    return out.absolute().parent / LEDGER


def _claim(record: RunRecord, out: Path) -> str:
    """What the run shows, its luck considered, after the other trials on these prices."""
    from hybrid_bt.evidence.claim import claim
    from hybrid_bt.texts import end_days, plain

    key = configuration_key(plain(record.config), _policies(record), end_days(record.bars.stamps)[0])
    ledger, data = read_trials(_ledger(out)), record.facts["data"]["sha256"]
    others = trial_sharpes(ledger, data, but=key)
    return claim(record, n_trials=1 + count_trials(ledger, data, but=key), other_sharpes=others)


def _check_talk(flags: dict[str, Any]) -> None:
    asked = [flag for flag in ("as_json", "quiet", "verbose") if flags[flag]]
    if len(asked) > 1:
        names = " and ".join(f"--{flag.removeprefix('as_')}" for flag in asked)
        raise ConfigError(f"{names} contradict each other; give one of them")
    if flags["plot_symbols"] and flags["no_plots"]:
        raise ConfigError("--plot-symbols is about a picture, and --no-plots draws none; drop one of them")
    if flags["open_page"] and flags["no_plots"]:
        raise ConfigError("--open shows a page, and --no-plots writes none; drop one of them")


def _check_out(out: Path) -> None:
    """Refuse now what could not be written when the run is done."""
    if any(os.path.exists(path) and not os.path.isdir(path) for path in (out, *out.parents)):
        raise ConfigError(f"out: cannot write to {out}: a file is in the way; give another folder with --out")


def _check_span(start: datetime | None, end: datetime | None) -> None:
    if start and end and end <= start:
        raise ConfigError(
            f"--end {end:%Y-%m-%d} is not after --start {start:%Y-%m-%d}; exchange them or widen the span"
        )


def _request(flags: dict[str, Any]) -> Request:
    from hybrid_bt.backtest import Request
    from hybrid_bt.build import load_policies
    from hybrid_bt.feeds.sample import sample_pairs

    config = _config(flags)
    bars = load_asked(flags, end=_as_date(flags["end"]), trade_from=_as_date(flags["start"]))
    for symbol in flags["plot_symbols"]:
        bars.index_of(symbol)
    request = Request(
        bars=bars,
        config=config,
        policies=load_policies(config),
        pairs=flags["pairs"] or sample_pairs(flags["data"], bars.symbols),
        start=_as_date(flags["start"]),
        benchmark=flags["benchmark"],
        allow_in_sample=flags["allow_in_sample"],
        seed=flags["seed"],
        mode=flags["mode"],
        state=flags["state"],
    )
    return _with_news(request, flags)


def _backtest(request: Request, quiet: bool) -> RunRecord:
    from hybrid_bt.backtest import backtest

    with progress_bar(f"{request.bars.name}, {request.mode}", hidden=quiet) as progress:
        return backtest(request, progress)


def _with_news(request: Request, flags: dict[str, Any]) -> Request:
    """With documents and a scorer, where the flags ask for them."""
    setup = setup_of(flags)
    if setup is None:
        return request
    from hybrid_bt.news.setup import open_desk

    return request._replace(news=open_desk(setup, request.config.news, request.bars.symbols))


def _config(flags: dict[str, Any]) -> Config:
    from hybrid_bt.config import load_config

    overrides: dict[str, dict[str, Any]] = {}
    for _, place, *_ in _SETTINGS:
        section, _, key = place.partition(".")
        if flags[f"{section}_{key}"] is not None:
            overrides.setdefault(section, {})[key] = flags[f"{section}_{key}"]
    return load_config(flags["mode"], flags["config"], overrides)


def _as_date(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()


if __name__ == "__main__":
    main()
