"""`hybrid-bt`: all commands under one name, each imported when it is asked for."""

from __future__ import annotations

import importlib

import click

from hybrid_bt import __version__
from hybrid_bt.commands.console import SETTINGS, Group

#: heading of `--help` -> command, which is the `main` of its module -> what it does
HEADINGS = {
    "Trade": {
        "run": "Backtest the hybrid and write its report.",
        "trade": "Trade it with a broker, a bar at a time, beside its backtest.",
        "advise": "Say what to hold tomorrow, and the orders that lead there.",
        "init": "Write a script that runs, and a commented configuration, to begin with.",
    },
    "Prices and pairs": {
        "data": "Check prices before they are traded.",
        "pairs": "Choose pairs that were alike on training bars.",
        "news": "Keep documents for the risk manager.",
    },
    "Policies": {
        "train": "Train policies and freeze them (needs the extra `train`).",
        "policy": "Look into frozen policies; import models of Stable-Baselines3.",
    },
    "Evidence": {
        "study": "Weigh a result: windows, ablations, seeds, costs, with intervals.",
        "runs": "List and compare what was tried.",
        "parity": "Compare Backtrader's account with its replay, bar by bar.",
        "audit": "Look for look-ahead in the stack, or in a Backtrader strategy of yours.",
    },
}
COMMANDS = {name: words for commands in HEADINGS.values() for name, words in commands.items()}


class _LazyGroup(Group):
    """Lists commands without importing them, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            self.add_command(importlib.import_module(f"hybrid_bt.commands.{cmd_name}").main, cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, commands in HEADINGS.items():
            with formatter.section(heading):
                formatter.write_dl(list(commands.items()))


@click.group(cls=_LazyGroup, context_settings=SETTINGS, epilog="Example: hybrid-bt run --mode stable")
@click.version_option(__version__, prog_name="hybrid-bt")
def main() -> None:
    """Kalman pairs, frozen SAC and an LSTM regime gate, fused and traded through Backtrader."""


if __name__ == "__main__":
    main()
