"""`hybrid-bt init`: a configuration file to begin with, every key with its meaning, unit and value in a mode."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hybrid_bt.commands.console import FILE, command, flag, option, write_out
from hybrid_bt.commands.ending import echo
from hybrid_bt.commands.options import shared
from hybrid_bt.errors import ConfigError


@command()
@shared("mode")
@click.argument("file", type=FILE, required=False)
@option("--out", type=FILE, help="The same as FILE.  [default: hybrid_bt.toml]")
@flag("--force", help="Replace a file that exists.")
def main(mode: str, file: Path | None, out: Path | None, force: bool) -> None:
    """Write a commented TOML FILE for `hybrid-bt run --config`; `-` prints it.

    Keys that you delete from it keep the mode's value.
    """
    if file and out:
        raise ConfigError(f"init: writes one file, and got {file} and --out {out}; leave one out")
    out, text = file or out or Path("hybrid_bt.toml"), commented_toml(mode)
    if str(out) == "-":
        echo(*text.splitlines())
        return
    if out.exists() and not force:
        raise ConfigError(f"init: {out} exists; name another file, or pass --force to replace it")
    write_out(out, text.encode())
    echo(f"wrote {out}; use it with: hybrid-bt run --mode {mode} --config {out}")


def commented_toml(mode: str) -> str:
    """A mode's values as TOML, each key under a comment with its meaning and unit; it loads to the mode itself."""
    from hybrid_bt.config import keys_of, load_config
    from hybrid_bt.equations.parameters import meanings

    config = load_config(mode)
    lines = [f"# hybrid_bt, mode {mode}. Every key is optional: what is deleted here keeps the mode's value.", ""]
    values = config.sections()
    for section, keys in keys_of().items():
        parts = [type(getattr(config, part)) for part in dict.fromkeys(keys.values())]
        says = {key: words for part in parts for key, words in meanings(part).items()}
        lines += [f"# {(parts[0].__doc__ or '').splitlines()[0]}", f"[{section}]"]
        lines += [line for key in keys for line in (f"# {says[key]}", _assignment(key, values[section][key]))]
        lines.append("")
    return "\n".join(lines)


def _assignment(key: str, value: object) -> str:
    """One TOML line; a key without a value is left as a comment, for TOML has no null."""
    return f"# {key} =" if value is None else f"{key} = {json.dumps(value, ensure_ascii=False)}"
