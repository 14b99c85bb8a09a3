"""Compiles the C programs of the bench into the user's cache directory, once for each version of their sources."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sfloop.bench.errors import BenchError

SOURCES = Path(__file__).parent / "c"
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra")

#: Compiled separately, as a preload library.
GAP_SOURCE = "gap.c"


@dataclass(frozen=True)
class Programs:
    """Paths of the compiled programs."""

    sfbench: Path
    gap_library: Path


def cache_directory() -> Path:
    """``$XDG_CACHE_HOME/sfloop``, by default ``~/.cache/sfloop`` (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification says to ignore relative paths.
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "sfloop"


def _compiler() -> str:
    name = os.environ.get("CC", "cc")
    found = shutil.which(name)
    if found is None:
        raise BenchError(
            f'the bench compiles its load generator with a C compiler, but "{name}" was not found: '
            "install one (Debian: apt-get install gcc libc6-dev), or set CC to your compiler"
        )
    return found


def _fingerprint(compiler: str) -> str:
    digest = hashlib.sha256(" ".join((compiler, platform.machine(), *FLAGS)).encode())
    for source in sorted(SOURCES.glob("*.[ch]")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"compiling the bench's C programs failed: {' '.join(command)}\n{done.stderr.strip()}")


def programs() -> Programs:
    """The compiled programs. Compiles them if necessary. Raises BenchError if that fails."""
    compiler = _compiler()
    directory = cache_directory() / f"bench-{_fingerprint(compiler)}"
    built = Programs(directory / "sfbench", directory / "libsfgap.so")
    if built.sfbench.exists() and built.gap_library.exists():
        return built
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix="bench-", dir=directory.parent))
    except OSError as error:
        raise BenchError(
            f"the bench keeps its compiled programs in {directory.parent}, which cannot be written ({error.strerror}); "
            "set XDG_CACHE_HOME to another directory"
        ) from error
    try:
        sources = [str(path) for path in sorted(SOURCES.glob("*.c")) if path.name != GAP_SOURCE]
        _run([compiler, *FLAGS, *sources, "-o", str(scratch / "sfbench"), "-ldl"])
        _run(
            [
                compiler,
                *FLAGS,
                "-fPIC",
                "-shared",
                str(SOURCES / GAP_SOURCE),
                "-o",
                str(scratch / "libsfgap.so"),
                "-ldl",
            ]
        )
        _publish(scratch, directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return built


def _publish(scratch: Path, directory: Path) -> None:
    """Rename the finished directory into place, so that another bench never sees an incomplete one."""
    try:
        scratch.rename(directory)
    except OSError:
        if not (directory / "sfbench").exists():
            raise
