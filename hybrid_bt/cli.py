"""`hybrid-bt`: all commands under one name, each imported when it is asked for."""

from __future__ import annotations

import importlib

import click

from hybrid_bt import __version__
from hybrid_bt.errors import did_you_mean

#: command -> module whose `main` it is, and what it does
COMMANDS = {
    "run": ("hybrid_bt.run", "Backtest the hybrid and write its report."),
    "init": ("hybrid_bt.init", "Write a commented configuration file to begin with."),
    "train": ("hybrid_bt.train.__main__", "Train policies and freeze them (needs the extra `train`)."),
    "policy": ("hybrid_bt.policy_card", "Look into frozen policies; import models of Stable-Baselines3."),
    "data": ("hybrid_bt.data_check", "Check prices before they are traded."),
    "news": ("hybrid_bt.news.command", "Keep documents for the risk manager."),
    "study": ("hybrid_bt.study.command", "Weigh a result: windows, ablations, seeds, costs, with intervals."),
    "runs": ("hybrid_bt.runs", "List and compare what was tried."),
    "pairs": ("hybrid_bt.pairs", "Look for cointegrated pairs on training bars."),
    "parity": ("hybrid_bt.parity", "Compare Backtrader's account with its replay, bar by bar."),
    "audit": ("hybrid_bt.audit.command", "Look for look-ahead in the stack, or in a Backtrader strategy of yours."),
}

#: heading of `--help` -> its commands; a command that stands nowhere here comes last
GROUPS = {
    "Trade": ("run", "init"),
    "Prices and pairs": ("data", "pairs", "news"),
    "Policies": ("train", "policy"),
    "Evidence": ("study", "runs", "parity", "audit"),
}


class _LazyGroup(click.Group):
    """Lists commands without importing them, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            raise click.UsageError(f"no command {cmd_name!r}{did_you_mean(cmd_name, COMMANDS)}", ctx)
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).main
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        placed = {name for names in GROUPS.values() for name in names}
        for heading, names in (*GROUPS.items(), ("Other", tuple(name for name in COMMANDS if name not in placed))):
            known = [(name, COMMANDS[name][1]) for name in names if name in COMMANDS]
            if known:
                with formatter.section(heading):
                    formatter.write_dl(known)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hybrid-bt")
def main() -> None:
    """Kalman pairs, frozen SAC and an LSTM regime gate, fused and traded through Backtrader."""


if __name__ == "__main__":
    main()
