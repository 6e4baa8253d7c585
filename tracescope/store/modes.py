"""Who may read a store: its owner, and the group where the store's folder lets it.

Everything that is made inside a folder is as open as the folder: 0600 and 0700, or 0640 and 0750 where the
group may read it.  So one setting when a store is made, or one ``chmod g+rx`` later, is all.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tracescope.errors import of_system

_FILE, _FOLDER = 0o600, 0o700
_GROUP_FILE, _GROUP_FOLDER = 0o640, 0o750
_SHARED: Final = stat.S_IRGRP


def _is_shared(folder: Path) -> bool:
    return bool(folder.stat().st_mode & _SHARED)


def file_mode(path: Path) -> int:
    """The mode of a file created at `path`."""
    return _GROUP_FILE if _is_shared(path.parent) else _FILE


def restrict(path: Path) -> None:
    """Set the mode of a file that a library created."""
    path.chmod(file_mode(path))


def open_file(path: Path, flags: int) -> int:
    """Open a file, creating it with its mode; returns a descriptor."""
    mode = file_mode(path)
    opened = os.open(path, flags, mode)
    if mode == _GROUP_FILE and flags & os.O_CREAT:  # whatever the umask says
        os.fchmod(opened, mode)
    return opened


def make_folder(path: Path) -> None:
    """Make a folder where there is none, as open as the one that it lies in."""
    if path.is_dir():
        return
    path.mkdir(mode=_FOLDER, parents=True, exist_ok=True)
    if _is_shared(path.parent):
        path.chmod(_GROUP_FOLDER)


def make_root(path: Path, *, group: bool) -> None:
    """Make a store's own folder: what it lies in says nothing of who may read it."""
    path.mkdir(mode=_FOLDER, parents=True, exist_ok=True)
    if group:
        path.chmod(_GROUP_FOLDER)


@contextmanager
def writing(path: Path, name: Path | None = None) -> Generator[None]:
    """Say of what cannot be written which file it is, and leave no part of it.

    Parameters
    ----------
    path, name
        What is written; what it will be called, where that differs.

    Raises
    ------
    OSError
        With the file's name: that of a write has none, and a library may have words of its own for it.
    """
    try:
        yield
    except Exception as error:
        found = of_system(error)
        number = errno.ENOSPC if found is None and _is_full(path.parent) else found and found.errno
        if number is None:
            raise
        with suppress(OSError):
            path.unlink()
        raise OSError(number, os.strerror(number), str(name or path)) from error


def refuse_unwritable(*folders: Path) -> None:
    """Raise the OSError that writing in one of some folders would meet."""
    for folder in folders:
        if folder.is_dir() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            number = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
            raise OSError(number, os.strerror(number), str(folder))


def _is_full(folder: Path) -> bool:
    try:
        return os.statvfs(folder).f_bavail == 0
    except OSError:
        return False
