"""Pure steps and their parameters, one numeric file each; here, what steps read and write: lists in CPython, arrays in
compiled code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Row(Protocol[T_co]):
    """A sequence that is read."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> T_co: ...
    def __iter__(self) -> Iterator[T_co]: ...


class Cells(Row[T], Protocol[T]):
    """A sequence that is written as well."""

    def __setitem__(self, index: int, value: T, /) -> None: ...


Numbers: TypeAlias = Row[float]
Table: TypeAlias = Row[Row[float]]
Written: TypeAlias = Cells[float]
Lines: TypeAlias = Row[Cells[float]]  #: a table that is written
Pairs: TypeAlias = Sequence[tuple[int, int]]  #: columns (y, x) of each pair, (P,)
