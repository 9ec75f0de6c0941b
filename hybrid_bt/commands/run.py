"""`python -m hybrid_bt.run`: backtest the hybrid and write its report."""

from __future__ import annotations

import atexit
import gc
import json
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybrid_bt.account import collector_paused
from hybrid_bt.commands.console import FILE, Flag, Flags, command, flag, listed, option, progress_bar
from hybrid_bt.commands.ending import echo
from hybrid_bt.commands.options import config_of, market_of, setup_of, shared
from hybrid_bt.commands.tables import Table, say
from hybrid_bt.config.build import PACKAGED
from hybrid_bt.config.facts import NOTHING
from hybrid_bt.errors import ConfigError, check_names
from hybrid_bt.evidence.trials import LEDGER, append_trial, check_ledger, others_tried, read_trials, trial_of
from hybrid_bt.files.texts import json_object
from hybrid_bt.policies.frozen import FrozenPolicy

if TYPE_CHECKING:
    from hybrid_bt.config import Config
    from hybrid_bt.policies.sb3_policy import TrustedPolicy
    from hybrid_bt.report import Run
    from hybrid_bt.report.tearsheet import Sentence


@command(example="run --mode stable --data us20 --start 2018-01-02 --out fig/late")
@shared("mode", "bars", "pairs", "span", "in-sample")
@shared("settings", "config", "risk")
@flag("--trust", help="Let Stable-Baselines3 load a --sac or --gate that is a .zip, which runs what is in it.")
@option("--benchmark", default="equal-weight", metavar="SYMBOL|equal-weight", help="Buy and hold of what.")
@option(
    "--engine",
    type=click.Choice(["backtrader", "replay", "both"]),
    default="backtrader",
    help="Whose account: Backtrader's broker, its twin on arrays (same files, sooner), or both, compared bar by bar.",
)
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
    from hybrid_bt.report.quantstats_page import Beside

    atexit.register(gc.freeze)  # what is there when the process ends is left to the operating system: a second less
    with Beside("arch.bootstrap") if plots else nullcontext() as beside, collector_paused():
        made = _run(flags)
        trial = _trial(made, out)
        claim, before = _claim(made, trial, ledger) if plots else "", _written(out)
        symbols = flags["plot_symbols"]
        paths = write_report(made, out, plots=plots, claim=claim, plot_symbols=symbols, beside=beside)
        said = str(claim)
        gc.freeze()  # all is old then: the collector, on again, does not look through it
        gc.unfreeze()
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
        import webbrowser

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

    mode, config = flags["mode"], config_of(flags)
    own: dict[str, Any] = _own(config, trust=flags["trust"])
    market, setup, news = market_of(flags), setup_of(flags), None
    check_names(flags["plot_symbols"], market.bars.symbols, "--plot-symbols: not among the symbols traded:")
    if setup is not None:
        from hybrid_bt.news.desk import open_desk

        news = open_desk(setup, config.news, market.bars.symbols)
    more = {name: flags[name] for name in ("start", "benchmark", "allow_in_sample", "seed", "state", "engine")}
    with progress_bar(f"{market.name}, {mode}", hidden=flags["quiet"]) as progress:
        return run_backtest(market, mode=mode, config=config, progress=progress, news=news, **more, **own)


def _own(config: Config, *, trust: bool) -> dict[str, dict[str, FrozenPolicy | TrustedPolicy]]:
    """Files of one's own that need more than to be named: objects, by kind, and portfolios, which are a whole leg."""
    found: dict[str, dict[str, FrozenPolicy | TrustedPolicy]] = {"policies": {}, "legs": {}}
    for name, part in (("sac", config.sac), ("gate", config.gate)):
        is_object = trust and part.file.endswith(".zip")
        if part.enabled and not part.file.startswith(PACKAGED):
            policy = _object(part.file) if is_object else FrozenPolicy.load(part.file)
            if name == "sac" and policy.manifest.kind == "portfolio":
                found["legs"][name] = policy
            elif is_object:
                found["policies"][name] = policy
    return found


def _object(file: str) -> TrustedPolicy:
    from hybrid_bt.commands.console import check_trainers
    from hybrid_bt.policies.sb3_policy import TrustedPolicy

    check_trainers("running a model of Stable-Baselines3")
    return TrustedPolicy.load(file)


def _trial(made: Run, out: Path) -> dict[str, Any]:
    """The run's line in the ledger beside the report's folder."""
    parts = {**made.facts["policies"], **made.facts.get("legs", {})}
    policies = {name: part["sha256"] for name, part in parts.items()}
    known: dict[str, Any] = {"in_sample": bool(made.in_sample.any()), "data_sha256": made.facts["data"]["sha256"]}
    known["out"] = out.absolute().name  # the ledger lies beside it
    return trial_of("run", made.bars, made.config, policies, made.summary()["hybrid"], **known)


def _claim(made: Run, trial: Mapping[str, Any], ledger: Path) -> Sentence:
    """What the run shows, its luck considered, after the other trials on these prices; what was decided stays here."""
    from hybrid_bt.evidence.ratios import claim
    from hybrid_bt.report.tearsheet import Sentence

    others, none = others_tried(read_trials(ledger), trial["data_sha256"], but=trial["config_sha256"]), slice(0)
    parts: dict[str, Any] = {name: getattr(made, name).rows(none) for name in ("decisions", "limits", "pairs")}
    accounts = replace(made, **parts)
    return Sentence(partial(claim, accounts, [*others.values()]))


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
