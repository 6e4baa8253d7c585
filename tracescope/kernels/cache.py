"""Compiled kernels, kept by what they were compiled from.

    ~/.cache/tracescope/kernels/wire-1f3a9c0be2d4/scan-812.py311.nbi
                                ^    ^
                                |    digest of wire.py, of every module of tracescope that it imports,
                                |    directly or through another, and of the versions of the compiler
                                module

Compiled code freezes the constants and the functions that it calls, wherever they are written; so
an edit leaves the code of those modules alone that import nothing of it, and no others.  Nothing
in the key depends on where the files are: two checkouts with equal sources share their code.

A wheel brings the code of what the commands call (`ship`), made for any processor of its kind in a
folder beside this file, which is only read and may lie anywhere; everything else is looked up in the
user's cache, and compiled where it is not there.  Where nothing can be written the code is compiled in
every process, and one warning says so.
"""

# numba's classes have no types of their own: what overrides them is checked by their callers.
# pyright: reportIncompatibleMethodOverride=false, reportPrivateUsage=false

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import pickle
import re
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, _CacheLocator
from numba.core.codegen import JITCodeLibrary
from numba.core.runtime.nrt import rtsys

PACKAGE = Path(__file__).parents[1]

#: What a wheel brought along, and in it what it was made with.
SHIPPED = Path(__file__).with_name("compiled")
BUILT_WITH = "made-with.json"

_log = logging.getLogger(__name__)

# A folder is used when its time is younger; older ones are of sources that are gone.
UNUSED_DAYS = 30
_DAY_S = 86_400

_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(tracescope[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)"
    r"|import[ \t]+(tracescope[^\n#]*))",
    re.MULTILINE,
)

# What a file raises that was cut off when the machine stopped, or is none of compiled code.
_CUT_OFF = (EOFError, pickle.UnpicklingError, AttributeError, ImportError, IndexError, KeyError, ValueError)


def cache_root() -> Path:
    """Folder of the compiled kernels; raises RuntimeError where there is no home folder."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tracescope" / "kernels"


@functools.cache
def digest(module: str) -> str:
    """Name what the compiled code of `module` is made of, in 12 hex digits."""
    total = hashlib.blake2b(f"{numba.__version__} {llvmlite.__version__}".encode(), digest_size=6)
    for name in sorted(compiled_in(module)):
        text = _source(name).read_bytes()
        total.update(f"\n{name} {len(text)}\n".encode() + text)
    return total.hexdigest()


def compiled_in(module: str) -> set[str]:
    """Give `module` and the modules of tracescope that it imports, directly or through another."""
    found = {module}
    waiting = [module]
    while waiting:
        new = _imports(waiting.pop()) - found
        found |= new
        waiting.extend(new)
    return found


@functools.cache
def _imports(module: str) -> frozenset[str]:
    """Modules of tracescope that the text of `module` names in an import."""
    return frozenset(name for name in _named(_source(module).read_text("utf-8")) if _source(name).exists())


def _named(text: str) -> Iterator[str]:
    for source, names, plain in _IMPORT.findall(text):
        if plain:
            yield from re.findall(r"tracescope[\w.]*", plain)
            continue
        yield source
        for name in re.findall(r"(\w+)(?:[ \t]+as[ \t]+\w+)?", re.sub(r"#[^\n]*", "", names)):
            yield f"{source}.{name}"


def _source(module: str) -> Path:
    """File of a module; of one that is not of this package, such as a test's, where Python found it."""
    top, *below = module.split(".")
    if top != PACKAGE.name:
        return Path(sys.modules[module].__file__ or module)
    path = PACKAGE.joinpath(*below)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


class _BySources(_CacheLocator):
    """Finds compiled code by the digest of its sources."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._module = function.__module__
        self._line = function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _BySources:
        """Locate the code of `py_func`; its file is found by its module."""
        del py_file
        return cls(py_func)

    def get_cache_path(self) -> str:
        """Folder of the module's code, which need not exist; none can be where there is no home."""
        try:
            root = cache_root()
        except RuntimeError:
            root = Path(os.devnull)
        return str(root / f"{self._module.rpartition('.')[2]}-{digest(self._module)}")

    def get_source_stamp(self) -> str:
        """Digest that the code is valid for."""
        return digest(self._module)

    def get_disambiguator(self) -> str:
        """Tell functions of one name apart."""
        return str(self._line)

    def ensure_cache_path(self) -> None:
        """Make the folder, and remove those that have long been of no use; raises OSError."""
        path = Path(self.get_cache_path())
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            prune(path.parent)


class _Library(JITCodeLibrary):
    """Compiled code; of what is loaded the form that other code is compiled from is read when one is.

    Most processes compile nothing, and reading that form costs more than all else of loading a kernel.
    """

    _bitcode = b""

    @classmethod
    def _unserialize(cls, codegen: Any, state: Any) -> Any:
        name, kind, data = state
        if kind != "object":
            return super()._unserialize(codegen, state)
        loaded = cls(codegen, name)
        loaded.enable_object_caching()
        code, loaded._bitcode = data
        loaded._set_compiled_object(code)
        loaded._finalize_final_module()
        return loaded

    def _get_module_for_linking(self) -> Any:
        if self._bitcode and not self._shared_module:
            self._shared_module = llvm.parse_bitcode(self._bitcode)
            self._codegen._engine._load_defined_symbols(self._shared_module)
        return super()._get_module_for_linking()

    def get_pointer_to_function(self, name: str) -> int:
        """Give the address of a function; of what is loaded it is known without a list of its names."""
        if not self._bitcode:
            return super().get_pointer_to_function(name)
        return self._codegen._engine.get_function_address(name)


class _Stored(CompileResultCacheImpl):
    _locator_classes = [_BySources]  # noqa: RUF012 - as the class above has it

    def rebuild(self, target_context: Any, payload: Any) -> Any:
        """Make a compiled function of what was kept."""
        target_context.codegen()._library_class = _Library
        return super().rebuild(target_context, payload)

    def reduce(self, cres: Any) -> Any:
        """Take what is kept of a compiled function: all but the annotated text, which names its file."""
        kept = list(super().reduce(cres))
        kept[kept.index(str(cres.type_annotation))] = ""
        return tuple(kept)


class KernelCache(FunctionCache):
    """Compiled code of one kernel, by its arguments' types and the processor."""

    _impl_class = _Stored
    _warned = False  # Whether it was said that nothing can be kept.
    _depth = 0  # Of compilations that wait for those of what they call; under numba's lock.

    #: Called from Python in this process and not shipped: the function and its signature.
    unshipped: list[tuple[Callable[..., Any], Any]] = []  # noqa: RUF012 - one list of the process

    def ship(self, root: Path, sig: Any, compiled: Any) -> None:
        """Write the code for `sig` into the folder that is to be shipped."""
        index = self._shipped(root)
        Path(index._cache_path).mkdir(parents=True, exist_ok=True)
        index.save(self._portable_key(sig, compiled.codegen), self._payload(sig, compiled))

    def _shipped(self, root: Path) -> IndexDataCacheFile:
        """Index of this kernel's code in the folder that is shipped."""
        locator = self._impl.locator
        folder = root / Path(locator.get_cache_path()).name
        return IndexDataCacheFile(str(folder), self._impl.filename_base, locator.get_source_stamp())

    def _portable_key(self, sig: Any, codegen: Any) -> Any:
        """Key of code for any processor of this kind: without the one it was compiled on."""
        sig, (triple, *_), code = self._index_key(sig, codegen)
        return sig, triple, code

    def _payload(self, sig: Any, compiled: Any) -> Any:
        """What is kept of a compiled function: as it was written, since what is loaded says less."""
        try:
            written = self._cache_file.load(self._index_key(sig, compiled.codegen))
        except (OSError, *_CUT_OFF):
            written = None
        return self._impl.reduce(compiled) if written is None else written

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Code for `sig`, or None where it is to be compiled.

        The compiler's tables of types and functions, which code that is there does not need, are filled
        only for what is compiled.
        """
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            if (found := self._load_overload(sig, target_context)) is not None:
                return found
        target_context.refresh()
        return None

    def _load_overload(self, sig: Any, target_context: Any) -> Any:
        """Code for `sig`, or None where there is none that can be used."""
        codegen = target_context.codegen()
        try:
            data = self._shipped(SHIPPED).load(self._portable_key(sig, codegen)) if SHIPPED.is_dir() else None
            if data is not None:
                return self._impl.rebuild(target_context, data)
            if KernelCache._depth == 0:
                KernelCache.unshipped.append((self._py_func, sig))
            loaded = super()._load_overload(sig, target_context)
        except (OSError, *_CUT_OFF):
            loaded = None  # It is compiled and written again.
        if loaded is not None:
            _touch(Path(self._cache_path))
            return loaded
        _warn_once()
        KernelCache._depth += 1
        return None

    def _save_overload(self, sig: Any, data: Any) -> None:
        """Keep the code for `sig`; one warning in a process where that cannot be."""
        KernelCache._depth -= 1
        try:
            self._save_anew(sig, data)
        except OSError as error:
            self.disable()
            if not KernelCache._warned:
                KernelCache._warned = True
                warnings.warn(
                    f"no kernel cache: {error}; kernels compile in every process "
                    "(set XDG_CACHE_HOME or NUMBA_CACHE_DIR to a writable directory)",
                    RuntimeWarning,
                    stacklevel=2,
                )

    def _save_anew(self, sig: Any, data: Any) -> None:
        """Keep the code for `sig`, in place of an index that cannot be read."""
        try:
            super()._save_overload(sig, data)
        except _CUT_OFF:
            self.flush()
            super()._save_overload(sig, data)


def built_with() -> dict[str, str]:
    """Give the versions that the shipped code was made with; empty where none is shipped."""
    try:
        return json.loads((SHIPPED / BUILT_WITH).read_text("utf-8"))
    except OSError:
        return {}


def versions() -> dict[str, str]:
    """Give the versions that compiled code is good for."""
    return {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
    }


@functools.cache
def _warn_once() -> None:
    """Say that this process compiles, and why the shipped code is of no use where there is some."""
    made = built_with()
    other = [
        f"{name} is {now}, not {made[name]}" for name, now in versions().items() if made.get(name, now) != now
    ]
    why = f" ({', '.join(other)}, with which they came compiled)" if other else ""
    _log.warning("compiling kernels%s: about a minute, and only once", why)


def _touch(folder: Path) -> None:
    """Note that a folder is used, once a day; a folder that is only read keeps its time."""
    try:
        if time.time() - folder.stat().st_mtime > _DAY_S:
            os.utime(folder)
    except OSError:
        return


def prune(root: Path) -> None:
    """Remove what was compiled of former sources and has not been used for `UNUSED_DAYS`."""
    oldest = time.time() - UNUSED_DAYS * _DAY_S
    for folder in [*root.glob("*-????????????"), *root.parent.glob("kernels-????????????")]:
        # Another process may remove the same.
        if folder.is_dir() and folder.stat().st_mtime < oldest:
            shutil.rmtree(folder, ignore_errors=True)
