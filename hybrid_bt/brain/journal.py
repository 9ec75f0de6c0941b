"""An append-only journal: one line that says what it holds for, then one row a bar. It is plain text, and never run.

    {"format": "hybrid_bt state", "version": 3, "hybrid_bt": "0.1.0", "columns": ["stamp", ...], "fit": {...}}
    5f0d12ab [734138.0, [41.2, NaN], null, null, [0.1, NaN], {"cash": ...}, [[41.0, 41.3, 40.9, 1200.0], null]]

Each row is sealed by a checksum of it and of all that stands above, and read by a schema. A last line that was cut off,
by a process that died while writing it, does not count. While a process writes, it holds a lock that ends with it.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from io import FileIO
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeAlias

from annotated_types import Ge, Le, Lt, Predicate
from pydantic import FiniteFloat, TypeAdapter, ValidationError

from hybrid_bt import __version__
from hybrid_bt.errors import StateError, os_errors
from hybrid_bt.files import append_whole, lock_or_refuse
from hybrid_bt.files.texts import json_object

FORMAT, VERSION = "hybrid_bt state", 3
FIELDS = ("open", "high", "low", "volume")  #: of a bar, beside its close
REVISED = "the data has been revised: give the earlier data, or remove the state to begin anew"
_Stamp = Annotated[float, Ge(1.0), Lt(datetime.max.toordinal() + 1.0)]
_Price = Annotated[float, Predicate(lambda price: price != price or 0.0 < price < math.inf)]  # NaN: no bar
_Number = Annotated[float, Predicate(lambda number: not math.isinf(number))]
_Unit = Annotated[float, Ge(-1.0), Le(1.0)]
_Share = Annotated[float, Ge(0.0), Le(1.0)]
_Risk = Annotated[float, Ge(1.0), Le(5.0)]
_Advice = tuple[list[_Risk], list[_Unit], _Unit, _Share, bool, list[str], list[str]]
_Facts = tuple[int, FiniteFloat, list[FiniteFloat], list[bool], bool, bool]
_Bars = list[tuple[_Price, _Price, _Price, _Number] | None] | None
_ANY: TypeAdapter[Any] = TypeAdapter(dict[str, Any])
#: what a row may be: the fields of `Entry`, `Advice` and `GuardFacts`, in their order
_Row = tuple[_Stamp, list[_Price], _Advice | None, _Facts | None, list[_Number] | None, dict[str, Any], _Bars]
_ROW = TypeAdapter(_Row)
LONGEST = 80  #: characters of a value in an error

Prices: TypeAlias = Sequence[Sequence[float] | None] | None


class Entry(NamedTuple):
    """What came from outside at the close of a bar, and what was sent."""

    stamp: float  #: Backtrader's number
    closes: Sequence[float]  #: (N,) NaN where a symbol has no bar
    advice: Sequence[Any] | None  #: fields of `Advice`; None where nobody was asked
    seen: Sequence[Any] | None  #: fields of `GuardFacts`: the account as the guard saw it; None where it did not look
    sent: Sequence[float] | None  #: (N,) targets, NaN keeps what is held; None where nothing was to be sent
    account: Mapping[str, Any]  #: behind the orders
    prices: Prices = None  #: (N,) `FIELDS` of each bar; None where they need not be the same when they come again


class Journal:
    """Rows of one file, which is made where it is missing.

    Parameters
    ----------
    path : Path
        A regular file, or a link to one.
    fit : mapping of plain data
        What the rows hold true for, by name; `symbols`, if it has them, are those of every row.
    account : TypeAdapter
        Schema of a row's account.

    Attributes
    ----------
    first : float
        Stamp of the first row that was there; NaN if none was.
    last : Entry or None
        That was read again last; with `is_over` all rows that were there.
    written_by : str
        Version of hybrid_bt that began it.

    Raises
    ------
    StateError
        If the file cannot be written to, is no journal, damaged, of another format or fit, or another process has it.
    """

    def __init__(self, path: Path, fit: Mapping[str, Any], account: TypeAdapter[Any] = _ANY) -> None:
        self.path, self._file = path, _opened(path)
        self._n_symbols, self._account = len(fit.get("symbols", ())), account
        mine = {"format": FORMAT, "version": VERSION, "hybrid_bt": __version__, "columns": Entry._fields, "fit": fit}
        head = json.dumps(mine).encode() + b"\n"
        self._file.seek(0)
        content = self._file.read()
        if head.startswith(content):  # new, or a process died while writing the first line
            self._file.truncate(0)
            self._write(head)
            content = head
        whole = content[: content.rfind(b"\n") + 1]
        first, *lines = whole.split(b"\n")
        self.written_by = self._checked_head(first, json.loads(head)["fit"])
        self._seal = zlib.crc32(first)
        self._past = [self._checked(line, number) for number, line in enumerate(lines[:-1], 2)][::-1]  # popped
        self.first = _row(self._past[-1]).stamp if self._past else math.nan
        self.is_over = not self._past
        self.last: Entry | None = None
        self._file.truncate(len(whole))

    def _checked_head(self, line: bytes, fit: Mapping[str, Any]) -> str:
        said = json_object(line)
        if said is None or said.get("format") != FORMAT:
            rule = "does not begin as a state file; name another one, or remove it to begin anew"
            raise StateError(f"state: {self.path} {rule}")
        if said.get("version") != VERSION:
            raise StateError(
                f"state: {self.path} has format version {said.get('version')!r}, this code reads {VERSION}; "
                "go on with the hybrid_bt that wrote it, or remove it to begin anew"
            )
        written = said.get("fit")
        if not isinstance(written, dict) or said.get("columns") != list(Entry._fields):
            raise self._damaged(1)
        for name in {**fit, **written}:
            before, now = written.get(name), fit.get(name)
            if (before, before is True, before is False) != (now, now is True, now is False):  # 1 is equal to True
                raise StateError(
                    f"state: {self.path} was written with {name} {_short(before)}, now it is {_short(now)}; "
                    "go on as before, name another state file, or remove this one to begin anew"
                )
        return str(said.get("hybrid_bt"))

    def _checked(self, line: bytes, number: int) -> bytes:
        seal, _, text = line.partition(b" ")
        self._seal = zlib.crc32(text, self._seal)
        if seal != b"%08x" % self._seal:
            raise self._damaged(number)
        try:
            stamp, closes, advice, seen, sent, account, prices = _ROW.validate_json(text, strict=True)
            self._account.validate_json(json.dumps(account), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            raise self._damaged(number, f" ({'.'.join(map(str, first['loc']))}: {first['msg']})") from None
        vectors = [closes, sent, prices, *(advice or ())[:2], *(seen or ())[2:4]]
        vectors += filter(None, (advice or ())[5:7])
        if self._n_symbols and any(len(one) != self._n_symbols for one in vectors if one is not None):
            raise self._damaged(number, f" ({self._n_symbols} symbols have a value each)")
        if seen and seen[0] != int(stamp):
            raise self._damaged(number, " (the guard's day is another than the stamp's)")
        return text

    def _damaged(self, number: int, why: str = "") -> StateError:
        return StateError(f"state: {self.path} is damaged in line {number}{why}; restore a copy, or remove it")

    def rows(self) -> list[Entry]:
        """Those that were there and have not been read again yet, oldest first."""
        return [*map(_row, reversed(self._past))]

    def due(self, stamp: float, *, begins: bool) -> Entry:
        """The next of the rows that were there, on a bar of this stamp; where data begins, of an earlier bar too."""
        row = _row(self._past.pop())
        if begins and stamp < row.stamp:
            rule = "begin both on the same bar, or the data later"
            raise StateError(f"state: the data begins on {said(stamp)}, {self.path} on {said(row.stamp)}; {rule}")
        if row.stamp > stamp or (row.stamp < stamp and not begins):
            rule = f"where the data has {said(stamp)}; give the data that it was written on"
            raise StateError(f"state: {self.path} has a bar on {said(row.stamp)}, {rule}")
        self.last, self.is_over = row, not self._past
        return row

    def check_sent(self, stamp: float, before: Mapping[str, float], now: Mapping[str, float]) -> None:
        """Refuse targets of a past bar that are not those that were sent."""
        remedy = (
            f"hybrid_bt {self.written_by} wrote {self.path}, this is {__version__}, earlier prices were revised, or a "
            "part of your own answers otherwise: go on with what wrote it, or, from the account as it stands, with "
            "another state file and trade_from behind this one's last bar"
        )
        compare(stamp, "the target of", before, now, remedy)

    def end(self, stamp: float) -> None:
        """Refuse data that ended, on `stamp`, before the last row that was there."""
        if not self.is_over:
            raise StateError(
                f"state: the data ends on {said(stamp)}, before the last bar of {self.path}, "
                f"{said(_row(self._past[0]).stamp)}; give that data again, or more of it"
            )

    def append(self, row: Entry, *, lasting: bool) -> None:
        """Write one row; a lasting one is waited for until a power cut cannot take it away either."""
        text = json.dumps(row, separators=(",", ":"), default=float).encode()
        self._seal = zlib.crc32(text, self._seal)
        self._write(b"%08x %s\n" % (self._seal, text))
        if lasting:
            os.fsync(self._file.fileno())

    def _write(self, data: bytes) -> None:
        with os_errors(StateError, f"state: cannot write {self.path}", "free the disk, then go on with it"):
            append_whole(self._file, data)

    def close(self) -> None:
        """Bring it to the disk, and let go of the file and its lock."""
        os.fsync(self._file.fileno())
        self._file.close()


def compare(stamp: float, what: str, before: Mapping[str, object], now: Mapping[str, object], remedy: str) -> None:
    """Refuse the first thing that is not what it was on a past bar."""
    for name, value in before.items():
        if repr(value) != repr(now[name]):  # NaN is not equal to itself
            raise StateError(f"state: {what} {name} on {said(stamp)} was {value!r}, now it is {now[name]!r}; {remedy}")


def moment_of(stamp: float) -> datetime:
    """Date and time of a number of days, 1 being the first of January of the year 1; to the 10 microseconds it has."""
    return datetime.fromordinal(int(stamp)) + timedelta(microseconds=round(stamp % 1.0 * 86_400e6, -1))


def said(stamp: float) -> str:
    """The same for people; a midnight is its day."""
    moment = moment_of(stamp)
    return f"{moment:%Y-%m-%d}" if moment.time() == time.min else moment.isoformat(sep=" ", timespec="seconds")


def _row(line: bytes) -> Entry:
    return Entry(*json.loads(line))


def _opened(path: Path) -> FileIO:
    """The file that a name or a link leads to, to read and to append to, locked."""
    with os_errors(StateError, f"state: cannot write {path}", "name another file"):
        if "\0" in str(path):
            raise OSError(errno.EINVAL, "no name holds a NUL")
        how = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        file = FileIO(os.open(os.path.realpath(path), how, 0o666), "ab+")  # closed by `close`, or with the process
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise StateError(f"state: {path} is no regular file; name another file")
    lock_or_refuse(file, StateError(f"state: another process is writing {path}; stop it, or name another file"))
    return file


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
