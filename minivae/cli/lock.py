"""Lets one training at a time into a folder, by a lock that the system takes back from a process that is killed."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

NAME = ".lock"
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP)  # errors of file systems that have no locks


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold a folder for one training; the folder is made, and removed again if nothing was put into it.

    Gives whether a training was killed in it: only then the file that is locked is still there. Raises ValueError for
    a file in the place of the folder and while another training holds it, OSError where nothing can be written.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is a file and cannot be the folder of a run")
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file, killed = _acquire(folder / NAME)
        try:
            yield killed
        finally:
            _release(file, folder / NAME)
    finally:
        with suppress(OSError):
            for path in made:
                path.rmdir()


def _acquire(path: Path) -> tuple[IO[bytes], bool]:
    """Lock a file: -> the open file, and whether it was there before."""
    while True:
        killed = path.exists()
        try:
            file = path.open("ab")
        except PermissionError as error:
            raise PermissionError(f"the folder {str(path.parent)!r} is not writable") from error
        try:
            _lock(file, path)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file, killed
        except BaseException:
            file.close()
            raise
        file.close()  # the file was removed by the training that ended between open() and _lock()


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise ValueError(f"another training is under way in {str(path.parent)!r}; it must end first") from error
        print(f"minivae: {str(path.parent)!r} cannot be locked: start no other training in it", file=sys.stderr)


def _release(file: IO[bytes], path: Path) -> None:
    """Remove the file and close it; on Windows in the other order, as it refuses to remove an open file."""
    try:
        if sys.platform == "win32":
            file.close()
        with suppress(PermissionError):
            path.unlink(missing_ok=True)
    finally:
        file.close()
