"""`hybrid-bt init`: files to begin with, a Backtrader script that runs and a configuration with every key's meaning."""

from __future__ import annotations

import json
import shlex
from importlib import resources
from pathlib import Path

import click

from hybrid_bt.commands.console import FILE, command, flag, option, write_out
from hybrid_bt.commands.ending import echo
from hybrid_bt.commands.options import shared
from hybrid_bt.commands.tables import say
from hybrid_bt.errors import ConfigError


@command(example="init my_strategy.py")
@shared("mode")
@click.argument("file", type=FILE, required=False)
@option("--out", type=FILE, help="The same as FILE.  [default: hybrid_bt.toml and my_strategy.py]")
@flag("--force", help="Replace a file that exists.")
def main(mode: str, file: Path | None, out: Path | None, force: bool) -> None:
    """Write a Backtrader script that runs (FILE.py), or a commented configuration for `hybrid-bt run --config`.

    Without FILE both; `-` prints the configuration. Keys that you delete from it keep the mode's value.
    """
    if file and out:
        raise ConfigError(f"init: writes one file, and got {file} and --out {out}; leave one out")
    named = file or out
    if str(named) == "-":
        echo(*commented_toml(mode).splitlines())
        return
    files = (named,) if named else (Path("hybrid_bt.toml"), Path("my_strategy.py"))
    for path in files:
        if path.exists() and not force:
            raise ConfigError(f"init: {path} exists; name another file, or pass --force to replace it")
    for path in files:
        is_script = path.suffix == ".py"
        write_out(path, (strategy_script(mode, path) if is_script else commented_toml(mode)).encode())
        how = "python" if is_script else f"hybrid-bt run --mode {mode} --config"
        say(f"wrote {path}; to {'run' if is_script else 'use'} it:", f"    {how} {shlex.quote(str(path))}")


def strategy_script(mode: str, path: Path) -> str:
    """A program that trades the hybrid and weighs it."""
    text = (resources.files("hybrid_bt.commands") / "strategy.txt").read_text(encoding="utf-8")
    return text.replace("python FILE", f"python {path.name}").replace("MODE", mode)


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
