"""How everything here is written: whole or not at all, or a line at the end; and how a file is kept to oneself.

What is made gets a name of its own beside the place where it is to be, goes to the disk, and is renamed. A process that
is killed leaves what was there before, and perhaps a hidden `.part` or `.hybrid-bt-*` that may be deleted. A folder is
one run's: while it writes, another one is refused.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import shutil
import struct
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hybrid_bt.errors import ConfigError, HybridError, os_errors

OURS = ".hybrid-bt-"  #: begins the names of what is there while something is written
_WRITTEN: dict[Path, int] = {}  #: what this process is writing (`alone`) -> the thread that does


def write_whole(path: Path, *content: bytes | memoryview) -> None:
    """Write a file; whatever was there is kept until all of it is on the disk.

    Raises
    ------
    OSError
        If the folder cannot be written to; nothing is left behind.
    """
    with whole_file(path) as part, part.open("wb") as file:
        file.writelines(content)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name to write to, which becomes `path` when the block ends, and vanishes if it fails."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        yield part
        _to_disk(part)
        os.replace(part, path)
    except OSError as error:
        error.filename = os.fspath(path)  # which a failing write does not say
        raise
    finally:  # an interrupt, too, leaves nothing half-written
        part.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other writers of a file or folder out until the block ends: what is in it is of one run.

    Raises
    ------
    ConfigError
        If another process or thread writes there, or the folder around it cannot be written to.
    """
    real, me = Path(os.path.realpath(out)), threading.get_ident()
    busy = ConfigError(f"out: another run is writing to {out}; wait for its end, or give another with --out")
    if real in _WRITTEN:
        if _WRITTEN[real] != me:
            raise busy
        yield  # the command has it, of which this is a part
        return
    made = [folder for folder in real.parents if not folder.exists()]
    try:
        with os_errors(ConfigError, f"out: cannot write to {out}", "give another with --out"):
            real.parent.mkdir(parents=True, exist_ok=True)
            home = real.parent if os.access(real.parent, os.W_OK) or not real.is_dir() else real
            file = open(home / f"{OURS}{real.name}.lock", "ab")  # noqa: SIM115  (closed below)
        with file:
            try:
                lock(file, wait=False)
                os.stat(file.name)
            except OSError:  # it has the lock, or had it and took the file away just now
                raise busy from None
            _WRITTEN[real] = me
            try:
                yield
            finally:
                del _WRITTEN[real]
                with suppress(OSError):  # Windows keeps open files
                    os.unlink(file.name)
    finally:
        for folder in made:
            with suppress(OSError):  # there is something in it now
                folder.rmdir()


@contextmanager
def whole_folder(out: Path, ours: Sequence[str] = ()) -> Iterator[Path]:
    """A folder to write files to, which move to `out` when the block ends: all of them, or none if something fails.

    Parameters
    ----------
    out : Path
        Made, with its parents, if it does not exist. Other files there stay.
    ours : sequence of str
        Names that are removed from `out` where the block does not write them, in the order in which they come; they
        leave in the reverse order. Where the last of them lies, everything beside it is of the same writing, whenever
        the process was killed.

    Raises
    ------
    ConfigError
        If `out` cannot be written to, or somebody else is writing there; it is then as it was.
    """
    with alone(out), os_errors(ConfigError, f"out: cannot write to {out}", "give another folder with --out"):
        home = out if out.exists() else out.absolute().parent
        workshop = Path(tempfile.mkdtemp(prefix=OURS, dir=home))  # from there a rename reaches `out`
        try:
            fresh, earlier = workshop / "fresh", workshop / "earlier"
            fresh.mkdir()
            yield fresh
            _move_in(fresh, out, earlier, ours)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)


def _move_in(fresh: Path, out: Path, earlier: Path, ours: Sequence[str]) -> None:
    new = sorted(path.name for path in fresh.iterdir())
    for name in new:
        _to_disk(fresh / name)
    if not out.exists():
        os.replace(fresh, out)
        return
    earlier.mkdir()
    names = [*(name for name in new if name not in ours), *ours]
    for name in names:
        if (out / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, f"{name} is a folder there")
    old = [name for name in reversed(names) if os.path.lexists(out / name)]
    moves = [(out / name, earlier / name) for name in old]
    moves += [(fresh / name, out / name) for name in names if name in new]
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            os.replace(source, target)
            done.append((source, target))
    except BaseException:  # an interrupt, too, must not leave half of each
        for source, target in reversed(done):
            os.replace(target, source)
        raise


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Arrays by name as one `.npz`, whole; errors as `write_whole`."""
    with whole_file(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_arrays(path: Path | IO[bytes]) -> dict[str, NDArray[Any]] | None:
    """What `write_arrays` wrote; None if there is no such file, or it is damaged."""
    try:
        with zipfile.ZipFile(path) as file:  # whose checksums `np.load` passes by where it stops early
            return {name.removesuffix(".npy"): np.load(io.BytesIO(file.read(name))) for name in file.namelist()}
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error):
        return None


def append_line(path: Path, text: str, *, torn: str = "") -> None:
    """Add a line, flushed to the disk, making the file and its folder where they are missing.

    A line that a crash cut off stays as it is, marked by `torn` at its end, and this one begins on a line of its own.

    Raises
    ------
    OSError
        If it cannot be written whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+", buffering=0) as file:
        lock(file)
        line = ((f"{torn}\n" if _ends_within_a_line(file) else "") + text + "\n").encode()
        append_whole(file, line)
        os.fsync(file.fileno())


def append_whole(file: IO[bytes], data: bytes) -> None:
    """Add bytes to an unbuffered file, all of them or, where the disk is full, none.

    Raises
    ------
    OSError
    """
    end = file.seek(0, os.SEEK_END)
    try:
        while data:
            data = data[file.write(data) :]
    except OSError:
        file.truncate(end)
        raise


def _ends_within_a_line(file: IO[bytes]) -> bool:
    if not file.seek(0, os.SEEK_END):
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def lock(file: IO[bytes], *, wait: bool = True) -> None:
    """Keep other processes out until the file is closed or the process ends; on Windows nothing keeps them out.

    Raises
    ------
    OSError
        Without `wait`, if another process has it.
    """
    try:
        import fcntl
    except ImportError:
        return
    fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def lock_or_refuse(file: IO[bytes], refusal: HybridError) -> None:
    """`lock` it at once; where another process has it, close it and raise the refusal."""
    try:
        lock(file, wait=False)
    except OSError:
        file.close()
        raise refusal from None
