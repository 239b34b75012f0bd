"""Files are replaced whole or not at all: written beside their place, then renamed over it."""

from __future__ import annotations

import csv
import errno
import functools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from loguru import logger

from medseg.errors import UserError

# what the system says of a lock that another process holds; anything else means no locks here
TAKEN = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
if os.name == "nt":
    TAKEN.add(errno.EDEADLK)  # after ten seconds of waiting
_UNLOCKED: set[Path] = set()  # folders without locks, in this process


def write_atomic(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Call `write` with a binary file that replaces `path` once it is complete and on disk.

    On any failure the earlier file stays as it was. Raises `UserError` when the disk is full or not
    writable.
    """
    handle, name = None, ""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with open(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException as error:
        if name and os.path.exists(name):
            os.unlink(name)
        if isinstance(error, OSError):
            kept = "; the earlier file is unharmed" if path.exists() else ""
            raise UserError(
                f"{path}: cannot be written ({error.strerror or error}){kept}; make room or choose"
                " another folder"
            ) from None
        raise


def write_text(path: Path, text: str) -> None:
    """`write_atomic` for text, in UTF-8; what that cannot hold is written as escapes."""
    write_atomic(path, lambda file: file.write(text.encode(errors="backslashreplace")))


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """`write_atomic` for a table; its columns are the keys in order of first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, *([_cell(row.get(key)) for key in columns] for row in rows)]
    write_text(path, "".join(_csv_line(line) for line in lines))


def read_csv(path: Path) -> list[dict[str, Any]]:
    """The rows of a table, numbers as floats; empty cells are left out, a missing file is empty."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {key: _number(value) for key, value in row.items() if value not in ("", None)}
            for row in csv.DictReader(file)
        ]


@contextmanager
def making_folder(path: Path, flag: str) -> Iterator[None]:
    """Raise `UserError`, which names `flag` and `path`, where the block cannot make the folder."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{flag} {path}: cannot be made ({error.strerror}); choose a folder you may write to"
        ) from None


def new_folder(path: Path, flag: str, remedy: str) -> Path:
    """Create the folder `path` and return it.

    Raises `UserError`, which names `flag` and ends with `remedy`, if there is something in it.
    """
    with making_folder(path, flag):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UserError(f"{flag} {path}: exists already and is not an empty folder; {remedy}")
        path.mkdir(parents=True, exist_ok=True)
    return path


def results_folder(path: Path, names: Iterable[str], *, overwrite: bool) -> Path:
    """Create the folder `path` of --out, if need be, and return it.

    Raises `UserError` if it holds a file of one of the `names` and is not to be overwritten.
    """
    taken = next((name for name in names if (path / name).exists()), None)
    if taken and not overwrite:
        raise UserError(
            f"--out {path}: holds {taken} already; choose another folder or give --overwrite"
        )
    with making_folder(path, "--out"):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def folder_or_nothing(path: Path, flag: str) -> Iterator[None]:
    """Create the folder `path` if it is missing, and remove it again if the block fails.

    Only folders that were created here and are still empty are removed. Raises `UserError` if it
    cannot be created.
    """
    missing = [each for each in (path, *path.parents) if not each.exists()]
    with making_folder(path, flag):
        path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # one that is not empty stays, and so do those above it
            for folder in missing:
                folder.rmdir()
        raise


def _csv_line(cells: Iterable[Any]) -> str:
    return ",".join(map(_quoted, cells)) + "\n"


def _quoted(cell: Any) -> str:
    text = str(cell).replace('"', '""')
    # blanks at the ends are part of a name, and readers drop them elsewhere
    needs_quotes = any(character in text for character in ',"\n\r') or text != text.strip()
    return f'"{text}"' if needs_quotes else text


def _cell(value: Any) -> Any:
    if value is None or value != value:  # NaN differs from itself
        return ""
    if not isinstance(value, float):
        return value
    # ten digits for large numbers: a mean of pixel counts stays exact to the pixel
    return f"{value:.6g}" if abs(value) < 1e4 else f"{value:.10g}"


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def mark_used(path: Path) -> None:
    """Set a cache entry's time, so that the oldest one is the least used one.

    Another user's keeps its time.
    """
    with suppress(OSError):
        os.utime(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def lock(path: Path, message: str, *, wait: bool = False, shared: bool = False) -> Iterator[None]:
    """Hold `path` as a lock, which the system releases however the process ends.

    Raises `UserError(message)` if another process holds it, unless `wait`. Any number of processes
    may hold it `shared` at once, which excludes exclusive holders. Windows has no shared locks:
    there `shared` locks nothing. Nor does anything on a file system without locks, which is said
    once.
    """
    if shared and os.name == "nt":
        yield
        return
    with _open_lock(path) as file:
        if os.name == "nt":
            import msvcrt

            kind = msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK
            take = functools.partial(msvcrt.locking, file.fileno(), kind, 1)
        else:
            import fcntl

            kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
            take = functools.partial(fcntl.flock, file, kind)
        try:
            take()
        except OSError as error:
            if error.errno in TAKEN:
                taken = f"{path}: is locked by another process ({error.strerror}); try again"
                raise UserError(message or taken) from None
            _say_unlocked(path.parent, error.strerror)
        yield


def _open_lock(path: Path) -> BinaryIO:
    """The file of a lock, made if need be; that of another user may be readable only."""
    try:
        return open(path, "a+b")
    except PermissionError:
        if not path.exists():
            raise
        return open(path, "rb")


def _say_unlocked(folder: Path, reason: str) -> None:
    """Warn, once in a process, that nothing keeps two processes from one folder."""
    if not _UNLOCKED:
        logger.warning(
            f"{folder}: its file system has no locks ({reason}), going on without; see to it that"
            " no second process uses the same folder"
        )
    _UNLOCKED.add(folder)
