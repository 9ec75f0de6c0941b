"""What is given to a command, looked at before anything is done: nothing empty, no pipe, no device, a place alone."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any

import click

from hybrid_bt.errors import ConfigError, did_you_mean


class Refused(click.ClickException):
    """A mistake of the user's, told as all others are."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """One line."""
        click.echo(f"error: {self.message}", file=file, err=file is None)


class Given(click.Command):
    """A command that refuses what is given and empty, as an unset variable of a shell makes it; no value of ours is."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Options and arguments, as click reads them; of a flag or a choice that there is not, the nearest."""
        try:
            self._refuse_empty(ctx, args)
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            flags = [name for param in self.params for name in (*param.opts, *param.secondary_opts)]
            raise click.NoSuchOption(error.option_name.lower(), error.message, flags, ctx) from None
        except click.BadParameter as error:
            choices = getattr(getattr(error.param, "type", None), "choices", ())
            near = did_you_mean(error.message.partition("'")[2].partition("'")[0], choices).partition("; known")[0]
            if not near:
                raise
            raise click.BadParameter(error.message.removesuffix(".") + near, error.ctx, error.param) from None

    def _refuse_empty(self, ctx: click.Context, args: list[str]) -> None:
        given = {} if ctx.resilient_parsing else self.make_parser(ctx).parse_args(list(args))[0]
        for param in self.params:
            values = given.get(str(param.name))
            for value in values if isinstance(values, list | tuple) else [values]:
                if isinstance(value, str) and not value.strip():
                    raise Refused(f"{param.opts[-1]} is empty, as an unset variable is; give a value, or leave it out")


def check_paths(values: Iterable[object]) -> None:
    """Refuse what never ends, or would be replaced by a file."""
    for value in values:
        if isinstance(value, tuple):
            check_paths(value)
        elif isinstance(value, Path) and value.exists() and not (value.is_file() or value.is_dir()):
            raise ConfigError(f"{value} is a pipe or a device; name a file")


def nearest_file(text: str, values: Iterable[object]) -> str:
    """`; did you mean PATH?` for a path among those given that a message names, is not there, and is nearly another."""
    for value in values:
        if isinstance(value, tuple):
            found = nearest_file(text, value)
        else:
            named = re.search(rf"(?<![\w.-]){re.escape(str(value))}(?![\w-])", text)  # whole, not the end of another
            found = _neighbour(Path(str(value))) if named and "did you mean" not in text else ""
        if found:
            return found
    return ""


def _neighbour(path: Path) -> str:
    with suppress(OSError, ValueError):
        if not path.exists():
            near = difflib.get_close_matches(path.name, [one.name for one in path.parent.iterdir()], n=1)
            return f"; did you mean {path.parent / near[0]}?" if near else ""
    return ""


def alone(out: object) -> AbstractContextManager[None]:
    """While a command writes to `out`, no other one does."""
    if isinstance(out, Path):
        from hybrid_bt import files

        return files.alone(out)
    return nullcontext()


def refusal(error: OSError) -> str:
    """Of the system: a full disk, a limit, a name that is too long."""
    return f"{error.filename or 'the system'}: {error.strerror or error}; look at the place, its room and permissions"
