"""Who may read a store: its owner, and the group where the store's folder lets it.

Everything that is made inside a folder is as open as the folder: 0600 and 0700, or 0640 and 0750 where the
group may read it.  So one setting when a store is made, or one ``chmod g+rx`` later, is all.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

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
