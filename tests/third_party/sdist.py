"""Source distributions from PyPI: downloaded by pip, cached, and checked against pinned hashes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from conformance.forkserver.suite import SuiteError

PINS = Path(__file__).with_name("sdists.txt")
LOCAL_COPIES = "SFLOOP_TEST_SDISTS"
DOWNLOAD_LIMIT = 300  # seconds

UNREACHABLE = """\
{name} {version}'s source distribution could not be taken from PyPI, and its test suite is in nothing else:
    {command}
failed with:
{output}
Without a network, put {file} (sha256 {sha256}) into a directory and set {variable} to that directory."""


def unpacked(name: str, *, without: tuple[str, ...] = ()) -> Path:
    """The directory of the project's unpacked source distribution. Downloads it if it is missing.

    The folders in ``without`` are removed from it. The file is looked for in ``$SFLOOP_TEST_SDISTS``, then in the
    cache, ``$XDG_CACHE_HOME/sfloop/sdists``. Raises SuiteError if it is in neither and PyPI cannot be reached, or if
    the file's hash differs from the pinned one.
    """
    version, sha256 = _pin(name)
    file = f"{name.replace('-', '_')}-{version}.tar.gz"
    archive = _local_copy(file) or _cached(name, version, file, sha256)
    _verify(archive, sha256)
    directory = _cache() / "unpacked" / f"{file.removesuffix('.tar.gz')}-{sha256[:12]}"
    if not directory.exists():
        _unpack(archive, directory, without)
    return directory


def pinned_version(name: str) -> str:
    """The version of the project's source distribution."""
    return _pin(name)[0]


def _pin(name: str) -> tuple[str, str]:
    for line in PINS.read_text().splitlines():
        if line.startswith(f"{name}=="):
            requirement, _, sha256 = line.partition(" --hash=sha256:")
            return requirement.partition("==")[2], sha256.strip()
    raise KeyError(f"{PINS} does not pin {name}")


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sfloop" / "sdists"


def _local_copy(file: str) -> Path | None:
    directory = os.environ.get(LOCAL_COPIES)
    if not directory:
        return None
    path = Path(directory) / file
    if not path.exists():
        raise SuiteError(f"{LOCAL_COPIES} is {directory!r}, and there is no {file} in it")
    return path


def _cached(name: str, version: str, file: str, sha256: str) -> Path:
    cache = _cache()
    if not (cache / file).exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            _download(name, version, file, sha256, Path(scratch))
            (Path(scratch) / file).rename(cache / file)
    return cache / file


def _download(name: str, version: str, file: str, sha256: str, directory: Path) -> None:
    requirements = directory / "requirements.txt"
    requirements.write_text(f"{name}=={version} --hash=sha256:{sha256}\n")
    # --no-binary for this project only, because pip prepares its metadata and the build requirements may be wheels.
    arguments = ["download", "--no-deps", f"--no-binary={name}", "--require-hashes", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", *arguments, "-r", str(requirements), "-d", str(directory)]
    try:
        run = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=DOWNLOAD_LIMIT
        )
        output, failed = run.stdout, run.returncode != 0
    except subprocess.TimeoutExpired as error:
        output, failed = f"no end after {error.timeout:g} s", True
    if failed or not (directory / file).exists():
        details = {"file": file, "sha256": sha256, "variable": LOCAL_COPIES}
        raise SuiteError(
            UNREACHABLE.format(
                name=name, version=version, command=" ".join(command), output=_indented(output), **details
            )
        )


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-15:])


def _verify(archive: Path, sha256: str) -> None:
    actual = hashlib.sha256(archive.read_bytes()).hexdigest()
    if actual != sha256:
        raise SuiteError(f"{archive} has the sha256 {actual}; {PINS.name} pins {sha256}: remove the file")


def _unpack(archive: Path, directory: Path, without: tuple[str, ...]) -> None:
    """Unpack and rename in one step, so that two runs at a time never see an incomplete directory."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(scratch, filter="data")
            else:  # Python 3.10 and 3.11 before their security releases; the hash above ensures safety
                tar.extractall(scratch)
        (top,) = Path(scratch).iterdir()
        for folder in without:
            shutil.rmtree(top / folder)
        try:
            top.rename(directory)
        except OSError:
            if not directory.exists():
                raise
