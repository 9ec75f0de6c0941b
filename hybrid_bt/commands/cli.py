"""`hybrid-bt`: all commands under one name, each imported when it is asked for."""

from __future__ import annotations

import importlib

import click

from hybrid_bt import __version__
from hybrid_bt.commands.console import SETTINGS, Group

#: heading of `--help` -> command -> module whose `main` it is, and what it does
HEADINGS = {
    "Trade": {
        "run": ("hybrid_bt.commands.run", "Backtest the hybrid and write its report."),
        "init": ("hybrid_bt.commands.init", "Write a commented configuration file to begin with."),
    },
    "Prices and pairs": {
        "data": ("hybrid_bt.commands.data", "Check prices before they are traded."),
        "pairs": ("hybrid_bt.commands.pairs", "Look for cointegrated pairs on training bars."),
        "news": ("hybrid_bt.commands.news", "Keep documents for the risk manager."),
    },
    "Policies": {
        "train": ("hybrid_bt.commands.train", "Train policies and freeze them (needs the extra `train`)."),
        "policy": ("hybrid_bt.commands.policy", "Look into frozen policies; import models of Stable-Baselines3."),
    },
    "Evidence": {
        "study": ("hybrid_bt.commands.study", "Weigh a result: windows, ablations, seeds, costs, with intervals."),
        "runs": ("hybrid_bt.commands.runs", "List and compare what was tried."),
        "parity": ("hybrid_bt.commands.parity", "Compare Backtrader's account with its replay, bar by bar."),
        "audit": (
            "hybrid_bt.commands.audit",
            "Look for look-ahead in the stack, or in a Backtrader strategy of yours.",
        ),
    },
}
COMMANDS = {name: found for commands in HEADINGS.values() for name, found in commands.items()}


class _LazyGroup(Group):
    """Lists commands without importing them, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            self.add_command(importlib.import_module(COMMANDS[cmd_name][0]).main, cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, commands in HEADINGS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, words) for name, (_, words) in commands.items()])


@click.group(cls=_LazyGroup, context_settings=SETTINGS)
@click.version_option(__version__, prog_name="hybrid-bt")
def main() -> None:
    """Kalman pairs, frozen SAC and an LSTM regime gate, fused and traded through Backtrader."""


if __name__ == "__main__":
    main()
