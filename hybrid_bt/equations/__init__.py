"""Pure steps and their parameters, one numeric file each; here, what steps read and write: lists in CPython, arrays in
compiled code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Protocol, TypeAlias, TypeVar

from annotated_types import Ge, Le

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

# what parameters of one kind are: beyond these bounds a value is a slip, and what comes of it no number
Factor: TypeAlias = Annotated[float, Ge(1e-6), Le(1e3)]  #: also of equity; below the least nothing would ever be traded
Share: TypeAlias = Annotated[float, Ge(0), Le(1e3)]
Rate: TypeAlias = Annotated[float, Ge(0), Le(1e5)]  #: bps a year
InBars: TypeAlias = Annotated[float, Ge(0.01), Le(1e8)]  #: of a memory, or a year
Count: TypeAlias = Annotated[int, Ge(1), Le(10**8)]  #: of bars
Shares: TypeAlias = Annotated[float, Ge(0), Le(1e12)]
