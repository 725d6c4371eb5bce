"""Compiling at first use: what is kept in the cache, what is refused, and the messages if compiling fails."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from minivae.kernels.native import build
from minivae.kernels.native.build import BuildError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the compilers of these tests are shell scripts")

# A fake compiler: it states the CPU that it sees, and its "library" is one line of text.
COMPILER = """#!/bin/sh
case "$*" in *-dM*) echo "#define CPU {cpu}"; exit 0;; esac
{action}
while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; shift; done
echo made > "$out"
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that keeps the libraries of this test; CC is the fake compiler."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MINIVAE_CFLAGS", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")  # the tests expect the cache folder of Linux
    use_compiler(monkeypatch, tmp_path)
    return tmp_path / "cache" / "minivae" / "native"


def use_compiler(monkeypatch: pytest.MonkeyPatch, folder: Path, action: str = "", cpu: str = "1") -> None:
    path = folder / "compiler"
    path.write_text(COMPILER.format(action=action, cpu=cpu))
    path.chmod(0o700)
    monkeypatch.setenv("CC", str(path))


def test_a_library_is_compiled_once_and_one_line_says_so(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = build.build()
    said = capsys.readouterr()
    assert library.parent == cache
    assert library.read_text() == "made\n"
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "compiling" in said.err
    assert build.build() == library
    assert capsys.readouterr().err == ""
    assert sorted(cache.iterdir()) == [library.with_suffix(".sha256"), library]  # nothing else is left behind


def test_the_folder_is_for_the_user_alone(cache: Path) -> None:
    library = build.build()
    assert library.parent.stat().st_mode & 0o777 == 0o700


def test_other_flags_sources_and_cpus_are_other_libraries(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    libraries = {build.build()}
    monkeypatch.setenv("MINIVAE_CFLAGS", "-DOTHER")
    libraries.add(build.build())
    use_compiler(monkeypatch, tmp_path, cpu="2")
    libraries.add(build.build())
    extra = tmp_path / "extra.c"
    extra.write_text("int x;")
    sources = build.sources()
    monkeypatch.setattr(build, "sources", lambda: [*sources, extra])
    libraries.add(build.build())
    assert len(libraries) == 4


@pytest.mark.parametrize(
    ("compiler", "message"),
    [
        ("/no/such/compiler", "cannot be run"),
        ("false", r"failed \(exit status 1\)"),
        ("sh -c 'echo why >&2; exit 3'", "why"),
    ],
)
def test_compilers_that_fail(cache: Path, monkeypatch: pytest.MonkeyPatch, compiler: str, message: str) -> None:
    monkeypatch.setenv("CC", compiler)
    with pytest.raises(BuildError, match=message):
        build.build()


def test_no_compiler_at_all(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BuildError, match="there is no C compiler"):
        build.build()


def test_a_source_that_does_not_compile_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_compiler(monkeypatch, tmp_path, action="echo 'float32.c:1: error: so wrong' >&2; exit 1")
    with pytest.raises(BuildError, match="float32.c:1: error: so wrong"):
        build.build()
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_made(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(BuildError, match="cannot be kept"):
        build.build()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere")
def test_a_cache_that_is_read_only(cache: Path) -> None:
    cache.mkdir(parents=True, mode=0o500)
    with pytest.raises(BuildError, match="not writable"):
        build.build()


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_that_others_may_write_is_refused(cache: Path, mode: int) -> None:
    build.build()
    cache.chmod(mode)
    with pytest.raises(BuildError, match="may be written by others"):
        build.build()


def test_a_library_that_others_may_write_is_refused(cache: Path) -> None:
    build.build().chmod(0o666)
    with pytest.raises(BuildError, match="may be written by others"):
        build.build()


def test_a_foreign_folder_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build.build()
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    with pytest.raises(BuildError, match=f"belongs to user {own}"):
        build.build()


def test_a_link_is_refused(cache: Path, tmp_path: Path) -> None:
    cache.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    cache.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BuildError, match="is a link"):
        build.build()


def test_two_processes_at_once_make_one_library(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_compiler(monkeypatch, tmp_path, action="sleep 0.3")  # so that both compile at the same time
    code = "from minivae.kernels.native.build import build; print(build())"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = {process.communicate(timeout=60)[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert printed == {str(library) for library in cache.glob("*.so")}
    assert len(printed) == 1


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077])
def test_the_library_is_the_users_alone_whatever_the_umask_says(cache: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        library = build.build()
        assert stat.S_IMODE(library.stat().st_mode) == stat.S_IMODE(cache.stat().st_mode) == 0o700
        assert build.build() == library
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: whole + b"x"]
)
def test_a_damaged_library_is_compiled_anew(cache: Path, damage: Callable[[bytes], bytes]) -> None:
    """Loading a truncated library would end the process with a bus error."""
    library = build.build()
    whole = library.read_bytes()
    library.write_bytes(damage(whole))
    assert build.build() == library
    assert library.read_bytes() == whole


def test_what_a_killed_compiler_left_is_removed_and_what_one_at_work_has_stays(cache: Path) -> None:
    build.build()
    left, at_work = cache / "building-left", cache / "building-at-work"
    left.mkdir()
    at_work.mkdir()
    os.utime(left, (1, 1))
    next(cache.glob("*.so")).unlink()
    build.build()
    assert not left.exists()
    assert at_work.exists()


@pytest.mark.parametrize("variable", ["CC", "MINIVAE_CFLAGS"])
def test_the_error_names_a_variable_with_an_unclosed_quotation(
    cache: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "gcc '")
    with pytest.raises(BuildError, match=f"{variable} cannot be read: No closing quotation"):
        build.build()


def test_why_not_names_the_compiler(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/no/such/compiler")
    code = "from minivae.kernels.native import library; print(library.why_not())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "/no/such/compiler" in done.stdout


def test_the_error_for_a_library_that_cannot_be_loaded(cache: Path) -> None:
    code = "from minivae.kernels.native import library; print(library.why_not())"  # the library is a line of text
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot be loaded" in done.stdout
