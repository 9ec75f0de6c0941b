"""`hybrid-bt policy show FILE`: a frozen policy's manifest as a card."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hybrid_bt.console import FILE, Group
from hybrid_bt.options import shared
from hybrid_bt.sb3.command import import_sb3


@click.group("policy", cls=Group)
def main() -> None:
    """Look into frozen policies, and make them from models of Stable-Baselines3."""


main.add_command(import_sb3)


@main.command("show")
@click.argument("file", type=FILE)
@shared("json")
def show(file: Path, as_json: bool) -> None:
    """Check a frozen policy and print what it observes, does and was trained on."""
    from hybrid_bt.build import policy_path
    from hybrid_bt.policy import FrozenPolicy
    from hybrid_bt.texts import flat

    policy = FrozenPolicy.load(policy_path(str(file)))
    fields = {"file": str(file), "sha256": policy.sha256, **policy.manifest.model_dump(mode="json")}
    if as_json:
        click.echo(json.dumps(fields, indent=2, sort_keys=True))
        return
    results = fields.pop("results")
    shown = fields | (flat(results, "results.") or {"results": results})  # what a reader of a card looks for first
    width = max(map(len, shown))
    for name, value in shown.items():
        click.echo(f"{name:{width}}  {_plain(value)}")


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items()) or "-"
    return "-" if value is None else str(value)
