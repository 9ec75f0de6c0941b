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
    first: str
    last: str
    zones: tuple[str, ...]


class Told(list[Reading]):
    """How files were understood, while they are read."""

    def notes(self, name: str) -> Iterator[str]:
        """One line for each export that was recognised; asked for when all files are read."""
        for kind in dict.fromkeys(one.format for one in self if one.format):
            own = [one.where for one in self if one.format == kind]
            more = f" ({len(own)} files)" if len(own) > 1 else ""
            yield f"{name}: read as {kind} export{more}"
