"""Compiles the C kernels when they are first used, with the machine's own C compiler, and keeps the library.

Why at first use: the kernels owe their speed to the vector instructions of this machine's CPU (-march=native), which a
wheel for all machines could not use. Compiling takes a few seconds, once. The library is kept in the user's own cache
folder. Its name contains a hash of everything it was made from: the sources, the flags, the compiler, and the
instruction sets that the compiler sees in this CPU. So only a new version of minivae, another compiler or another kind
of CPU makes it compile again.

Libraries are loaded from that folder only, and only if nobody but the user can write there.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
UNITS = ("pool.c", "float32.c", "float64.c")  # compiled in parallel; the last two include all the other files
FLAGS = ["-O3", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fvisibility=hidden"]
SHARED = [] if sys.platform == "win32" else ["-fPIC", "-pthread"]
THIS_CPU: tuple[list[str], ...] = (
    ["-march=native"],
    ["-mcpu=native"],
    [],
)  # the first one that the compiler accepts is used; Clang on ARM accepts the second
SECONDS = 600  # how long a compiler may run


class BuildError(RuntimeError):
    """The C kernels are not available on this machine; the message says why."""


def build() -> Path:
    """The path of the compiled library, which comes from the cache or is compiled now.

    Raises BuildError if there is no compiler, if it fails, or if its result cannot be kept.
    """
    compiler = _compiler()
    flags = [*FLAGS, *SHARED, *_words("MINIVAE_CFLAGS")]
    cpu, macros = _this_cpu(compiler, flags)
    flags += cpu
    folder = _own_folder(_cache() / "native")
    library = folder / f"kernels-{_key(compiler, flags, macros)}{'.dll' if sys.platform == 'win32' else '.so'}"
    if not _is_whole(library):
        print(
            f"minivae: compiling its C kernels for this CPU, once: {shlex.join([*compiler, *flags])}", file=sys.stderr
        )
        _compile(compiler, flags, library)
    _check_owner(library)
    return library


def compile_alone(source: Path, flags: list[str], folder: Path) -> Path:
    """The path of a library made from one source file, in this folder and with these extra flags. Raises BuildError."""
    compiler = _compiler()
    cpu, _ = _this_cpu(compiler, [])
    library = folder / f"{source.stem}.so"
    _run([*compiler, *FLAGS, *SHARED, *cpu, *flags, "-shared", str(source), "-o", str(library)])
    return library


def sources() -> list[Path]:
    """All C files that the library is made from."""
    return sorted([*HERE.glob("*.c"), *HERE.glob("*.h")])


# ---- the compiler ----


def _compiler() -> list[str]:
    """The command that CC names, else the first of cc, clang and gcc that is installed."""
    named = _words("CC")
    if named:
        return named
    for name in ("cc", "clang", "gcc"):
        found = shutil.which(name)
        if found:
            return [found]
    raise BuildError("there is no C compiler: none of cc, clang and gcc was found, and CC is not set")


def _words(variable: str) -> list[str]:
    """The words of an environment variable, split as a shell does; BuildError for an unclosed quotation."""
    try:
        return shlex.split(os.environ.get(variable, ""), posix=sys.platform != "win32")
    except ValueError as error:
        raise BuildError(f"{variable} cannot be read: {error}") from None


def _this_cpu(compiler: list[str], flags: list[str]) -> tuple[list[str], bytes]:
    """The flags that mean "for this CPU", and the macros the compiler then defines: its version, instruction sets."""
    chosen = any(flag.startswith(("-march", "-mcpu")) for flag in flags)
    errors = []
    for cpu in [[]] if chosen else THIS_CPU:
        try:
            return cpu, _run([*compiler, *flags, *cpu, "-dM", "-E", "-x", "c", os.devnull])
        except BuildError as error:
            errors.append(error)
    raise errors[0]


def _compile(compiler: list[str], flags: list[str], library: Path) -> None:
    """Compiles all units in parallel and links them, in a folder of its own.

    The library is moved to its place at the end, so that no other process sees half a file.
    """
    try:
        _remove_leftovers(library.parent)
        with tempfile.TemporaryDirectory(dir=library.parent, prefix="building-") as scratch:
            objects = [Path(scratch) / f"{unit}.o" for unit in UNITS]
            commands = [
                [*compiler, *flags, "-c", str(HERE / unit), "-o", str(made)]
                for unit, made in zip(UNITS, objects, strict=True)
            ]
            _run_all(commands)
            linked = Path(scratch) / library.name
            libm = [] if sys.platform == "win32" else ["-lm"]
            _run([*compiler, *flags, "-shared", *map(str, objects), "-o", str(linked), *libm])
            _keep(linked, library)
    except OSError as error:
        raise BuildError(f"the compiled C kernels cannot be kept in {library.parent}: {error}") from None


def _keep(linked: Path, library: Path) -> None:
    """Moves the library and its digest to their final place, writable by the user alone whatever the umask says."""
    digest = linked.with_suffix(".sha256")
    digest.write_text(hashlib.sha256(linked.read_bytes()).hexdigest(), encoding="ascii")
    for made, place in ((linked, library), (digest, library.with_suffix(".sha256"))):
        made.chmod(0o700)
        with made.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(made, place)


def _is_whole(library: Path) -> bool:
    """Whether the library exists and has its digest. Loading a truncated one would crash the process."""
    try:
        digest = library.with_suffix(".sha256").read_text(encoding="ascii")
        return digest == hashlib.sha256(library.read_bytes()).hexdigest()
    except (OSError, UnicodeDecodeError):
        return False


def _remove_leftovers(folder: Path) -> None:
    """Removes the folders that killed compilers left behind: those older than any compilation can be."""
    for scratch in folder.glob("building-*"):
        if time.time() - scratch.stat().st_mtime > len(UNITS) * SECONDS:
            shutil.rmtree(scratch, ignore_errors=True)


def _run(command: list[str]) -> bytes:
    """What the command printed; BuildError with its message if it fails."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise BuildError(f"the C compiler did not finish in {SECONDS} seconds: {shlex.join(command)}") from None
    except OSError as error:
        raise BuildError(f"the C compiler {command[0]!r} cannot be run: {error}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise BuildError(f"the C compiler failed (exit status {done.returncode}): {shlex.join(command)}\n{said}")
    return done.stdout


def _run_all(commands: list[list[str]]) -> None:
    """Runs all commands in parallel, and waits for all of them."""
    from concurrent.futures import ThreadPoolExecutor  # slow to import, and only needed to compile

    with ThreadPoolExecutor(len(commands)) as pool:
        for _ in pool.map(_run, commands):
            pass


def _key(compiler: list[str], flags: list[str], macros: bytes) -> str:
    """A hash of everything the library is made from, 20 hex digits."""
    digest = hashlib.sha256("\0".join([*compiler, *flags]).encode() + b"\0" + macros)
    for source in sources():
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:20]


# ---- the cache ----


def _cache() -> Path:
    """minivae's folder in the place where this system keeps the user's caches."""
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "minivae"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "minivae"
    named = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(named) if os.path.isabs(named) else Path.home() / ".cache") / "minivae"
    except RuntimeError:  # no home
        raise BuildError("there is no folder to keep the compiled C kernels in: the user has no home") from None


def _own_folder(folder: Path) -> Path:
    """The folder, which is created for the user alone if it does not exist.

    Raises BuildError if it cannot be created, or if others may write there.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        _check_owner(folder)
        if not os.access(folder, os.W_OK | os.X_OK) and not any(folder.glob("kernels-*")):
            raise PermissionError(f"the folder {folder} is not writable")
    except OSError as error:
        raise BuildError(f"the compiled C kernels cannot be kept: {error}") from None
    return folder


def _check_owner(path: Path) -> None:
    """Raises BuildError unless this user owns the path and nobody else may write there.

    On Windows it checks nothing, because the folder lies in the user's own profile.
    """
    if sys.platform == "win32":
        return
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise BuildError(f"{path} is a link; the C kernels are only loaded from a folder that the user owns")
    if found.st_uid != os.geteuid():
        raise BuildError(f"{path} belongs to user {found.st_uid}, not to this user, {os.geteuid()}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BuildError(f"{path} may be written by others (mode {stat.S_IMODE(found.st_mode):o}, wanted: 700)")
