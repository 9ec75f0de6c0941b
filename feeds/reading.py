"""How a file was understood: what notes and `hybrid-bt data check` say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Reading(NamedTuple):
    """How a file was understood: what `data check` shows."""

    where: str
    format: str
    columns: tuple[str, ...]  #: "open = <OPEN>", as understood
    rules: tuple[str, ...]  #: that decided
    symbols: tuple[str, ...]
    first: str  #: row of the first symbol
    last: str
    zones: tuple[str, ...]

    def lines(self, *, explain: bool = False) -> Iterator[str]:
        """What a person wants to compare with the file."""
        names = ", ".join(self.symbols[:6]) + (f" and {len(self.symbols) - 6} more" if len(self.symbols) > 6 else "")
        yield f"{self.where}: {f'{self.format} export' if self.format else 'table'} of {names}"
        yield f"  columns: {', '.join(self.columns)}"
        yield f"  first:   {self.first}"
        yield f"  last:    {self.last}"
        yield f"  zone:    {', '.join(self.zones) or 'none: the clock as written'}"
        if explain:
            yield from (f"  because: {rule}" for rule in self.rules)


class Told(list[Reading]):
    """How files were understood, while they are read."""

    def notes(self, name: str) -> Iterator[str]:
        """One line for each export that was recognised; asked for when all files are read."""
        for kind in dict.fromkeys(one.format for one in self if one.format):
            own = [one.where for one in self if one.format == kind]
            more = f" ({len(own)} files)" if len(own) > 1 else ""
            yield f"{name}: read as {kind} export{more}"
