"""`python -m hybrid_bt.run`: backtest the hybrid and write its report."""

from __future__ import annotations

import atexit
import gc
import json
import warnings
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybrid_bt.account import collector_paused
from hybrid_bt.commands.console import FILE, Flag, Flags, command, flag, listed, option, progress_bar
from hybrid_bt.commands.ending import echo
from hybrid_bt.commands.options import market_of, setup_of, shared
from hybrid_bt.commands.tables import Table, say
from hybrid_bt.config.facts import NOTHING
from hybrid_bt.errors import ConfigError, check_names
from hybrid_bt.evidence.trials import LEDGER, append_trial, check_ledger, others_tried, read_trials, trial_of
from hybrid_bt.files.texts import json_object

if TYPE_CHECKING:
    from hybrid_bt.report import Run

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
    ("--sac", "sac_file", click.Path(), "Frozen SAC policy of your own (.onnx)."),
    ("--gate", "gate_file", click.Path(), "Frozen gate of your own (.onnx)."),
)


def _setting_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for name, key, kind, words in reversed(_SETTINGS):
        said = {"type": kind, "is_flag": kind is bool, "default": None, "help": f"{words}  [default: the mode's]"}
        function = click.option(name, key, **said)(function)
    return function


@command(example="run --mode stable --data us20 --start 2018-01-02 --out fig/late")
@shared("mode", "bars", "pairs", "span", "in-sample")
@_setting_options
@shared("config", "risk")
@option("--benchmark", default="equal-weight", metavar="SYMBOL|equal-weight", help="Buy and hold of what.")
@option(
    "--state",
    type=FILE,
    metavar="FILE",
    help="Keep the state here, a row a bar; if it is there already, go on from it.",
)
@option("--out", type=FILE, default=Path("fig"), help="Folder of the report.")
@listed(
    "--plot-symbols",
    help="Whose fills trades.png shows; up to 4 are drawn large, with positions.  [default: the most traded, small]",
)
@flag("--no-plots", help="CSV and run.json only.")
@flag("--open", "open_page", help="Open the decision explorer in the browser when done.")
@flag("--quiet", "-q", help="Print nothing but errors, and draw no progress bar.")
@flag("--verbose", "-v", help="Print every file written, and the seconds.")
@shared("ledger", "json")
@option("--seed", type=int, default=0, help="Recorded in run.json; a run draws no random numbers.")
@option("--sac-steps", type=int, hidden=True, help="Belongs to `hybrid-bt train`.")
@option("--tensorboard-log", type=click.Path(), hidden=True, help="Belongs to `hybrid-bt train`.")
def main(**flags: Flag) -> None:
    """Backtest the hybrid: Kalman pairs and a frozen SAC policy, mixed by a regime gate, through Backtrader's broker.

    Numbers without a default come from the mode (hybrid_bt/config/modes/*.toml). Writes CSV, PNG, tearsheet.html and
    run.json under --out. Research and education, not financial advice.
    """
    _check(flags)
    out, ledger, plots = flags["out"], flags["out"].absolute().parent / LEDGER, not flags["no_plots"]
    if not flags["no_ledger"]:
        check_ledger(ledger)
    from hybrid_bt.report import write_report

    atexit.register(gc.freeze)  # what is there when the process ends is left to the operating system: a second less
    with collector_paused():
        made = _run(flags)
        trial = _trial(made, out)
        said, before = _claim(made, trial, ledger) if plots else "", _written(out)
        paths = write_report(made, out, plots=plots, claim=said, plot_symbols=flags["plot_symbols"])
    if not flags["no_ledger"]:
        append_trial(ledger, trial)
    if flags["as_json"]:
        echo(json.dumps(_document(made, paths) | ({"claim": said} if said else {})))
    elif not flags["quiet"]:
        _print(made, paths, said, verbose=flags["verbose"])
        other = before and before != _written(out)
        say(f"{len(paths)} files in {out}{f', in the place of those of {before}' if other else ''}")
    else:
        for note in (note for note in made.notes if note.startswith(NOTHING)):
            warnings.warn(note, stacklevel=1)
    if flags["open_page"]:
        webbrowser.open((out / "explorer.html").resolve().as_uri())


def _written(out: Path) -> str:
    """Whose report lies there."""
    try:
        document = json_object((out / "run.json").read_bytes()) or {}
        return f"{document['config']['mode']} on {document['data']['name']}"
    except (OSError, LookupError, TypeError):
        return ""


def _check(flags: Flags) -> None:
    """Refuse now what belongs elsewhere, contradicts itself, or could not be written when the run is done."""
    for name in ("sac_steps", "tensorboard_log"):
        if flags[name] is not None:
            raise ConfigError(f"--{name.replace('_', '-')} belongs to training: python -m hybrid_bt.train sac --help")
    asked = [name for name in ("as_json", "quiet", "verbose") if flags[name]]
    if len(asked) > 1:
        names = " and ".join(f"--{name.removeprefix('as_')}" for name in asked)
        raise ConfigError(f"{names} contradict each other; give one of them")
    drawn = {"--plot-symbols": flags["plot_symbols"], "--open": flags["open_page"]}
    if flags["no_plots"] and any(drawn.values()):
        asked = [name for name, given in drawn.items() if given]
        raise ConfigError(f"{asked[0]} needs pictures and pages, and --no-plots makes none; drop one of them")
    out = flags["out"]
    if out.exists() and not out.is_dir():
        raise ConfigError(f"out: cannot write to {out}: a file is in the way; give another folder with --out")


def _run(flags: Flags) -> Run:
    from hybrid_bt.backtest import run_backtest
    from hybrid_bt.config import load_config

    overrides: dict[str, dict[str, Any]] = {}
    for _, place, *_ in _SETTINGS:
        section, _, key = place.partition("_")
        if flags[place] is not None:
            overrides.setdefault(section, {})[key] = flags[place]
    mode, config = flags["mode"], load_config(flags["mode"], flags["config"], overrides)
    market, setup, news = market_of(flags), setup_of(flags), None
    check_names(flags["plot_symbols"], market.bars.symbols, "--plot-symbols: not among the symbols traded:")
    if setup is not None:
        from hybrid_bt.news.desk import open_desk

        news = open_desk(setup, config.news, market.bars.symbols)
    more = {name: flags[name] for name in ("start", "benchmark", "allow_in_sample", "seed", "state")}
    with progress_bar(f"{market.name}, {mode}", hidden=flags["quiet"]) as progress:
        return run_backtest(market, mode=mode, config=config, progress=progress, news=news, **more)


def _trial(made: Run, out: Path) -> dict[str, Any]:
    """The run's line in the ledger beside the report's folder."""
    policies = {name: policy["sha256"] for name, policy in made.facts["policies"].items()}
    known: dict[str, Any] = {"in_sample": bool(made.in_sample.any()), "data_sha256": made.facts["data"]["sha256"]}
    known["out"] = out.absolute().name  # the ledger lies beside it
    return trial_of("run", made.bars, made.config, policies, made.summary()["hybrid"], **known)


def _claim(made: Run, trial: Mapping[str, Any], ledger: Path) -> str:
    """What the run shows, its luck considered, after the other trials on these prices."""
    from hybrid_bt.evidence.ratios import claim

    others = others_tried(read_trials(ledger), trial["data_sha256"], but=trial["config_sha256"])
    return claim(made, others.values())


def _document(made: Run, paths: list[Path]) -> dict[str, Any]:
    """The table as plain data: fractions and account currency, as in `summary_pnl.csv`."""
    from hybrid_bt.files.texts import plain

    return plain(
        {
            "title": made.title,
            "accounts": {name: summary._asdict() for name, summary in made.summary().items()},
            "bars_per_year": made.bars.bars_per_year,
            "out_of_sample": not made.in_sample.any(),
            "notes": made.notes,
            "files": paths,
        }
    )


def result_table(made: Run) -> Table:
    """The summary, one row an account."""
    head, *rows = made.table()
    return Table(head, rows, left=("account",), title=made.title, spare=("Sortino",))


def _print(made: Run, paths: list[Path], claim: str, *, verbose: bool) -> None:
    """The summary table, what it claims, then what every reader must know."""
    say(result_table(made), f"annualised with {made.bars.bars_per_year:.1f} bars a year", *filter(None, [claim]))
    say(*(f"note: {note}" for note in made.notes))
    if verbose:
        say(*(f"{path} {path.stat().st_size:,} bytes" for path in paths))
        say(f"backtest {made.facts['wall_clock']['backtest_seconds']:.2f} s")


if __name__ == "__main__":
    main()
