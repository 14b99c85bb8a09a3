"""Source distributions from PyPI: downloaded by pip, cached, and checked against pinned hashes.

A project whose source distribution has no tests is taken from Debian's source package, which has the project's whole
release.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from conformance.forkserver.suite import SuiteError

from . import debian

PINS = Path(__file__).with_name("sdists.txt")
LOCAL_COPIES = "SFLOOP_TEST_SDISTS"
DOWNLOAD_LIMIT = 300  # seconds

UNREACHABLE = """\
{name} {version}'s source could not be taken from {origin}, and its test suite is in nothing else:
    {command}
failed with:
{output}
Without a network, put {file} (sha256 {sha256}) into a directory and set {variable} to that directory."""


@dataclasses.dataclass(frozen=True)
class Archive:
    """A pinned archive of a project's source.

    ``debian`` is the name of Debian's source package, if the archive is Debian's instead of PyPI's.
    """

    name: str
    version: str
    sha256: str
    debian: str = ""

    @property
    def file(self) -> str:
        if self.debian:
            return f"{self.debian}_{self.version}.orig.tar.gz"
        return f"{self.name.replace('-', '_')}-{self.version}.tar.gz"

    def path(self) -> Path:
        """The archive itself. Downloads it if it is missing.

        The file is looked for in ``$SFLOOP_TEST_SDISTS``, then in the cache, ``$XDG_CACHE_HOME/sfloop/sdists``. Raises
        SuiteError if it is in neither and cannot be downloaded, or if its hash differs from the pinned one.
        """
        archive = _local_copy(self.file) or self._cached()
        _verify(archive, self.sha256)
        return archive

    def unpacked(self, *, without: tuple[str, ...] = ()) -> Path:
        """The directory of the unpacked archive, without these folders. Raises SuiteError as ``path()`` does."""
        archive = self.path()
        directory = _cache() / "unpacked" / f"{self.file.removesuffix('.tar.gz')}-{self.sha256[:12]}"
        if not directory.exists():
            _unpack(archive, directory, without)
        return directory

    def _cached(self) -> Path:
        cache = _cache()
        if not (cache / self.file).exists():
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                self._download(Path(scratch))
                (Path(scratch) / self.file).rename(cache / self.file)
        return cache / self.file

    def _download(self, directory: Path) -> None:
        command = debian.download(self.debian, directory) if self.debian else self._pip(directory)
        try:
            run = subprocess.run(
                command,
                cwd=directory,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=DOWNLOAD_LIMIT,
            )
            output, failed = run.stdout, run.returncode != 0
        except subprocess.TimeoutExpired as error:
            output, failed = f"no end after {error.timeout:g} s", True
        except FileNotFoundError as error:  # Debian's source package, on another distribution
            output, failed = str(error), True
        if failed or not (directory / self.file).exists():
            raise SuiteError(
                UNREACHABLE.format(
                    name=self.name,
                    version=self.version,
                    origin="Debian" if self.debian else "PyPI",
                    command=" ".join(command),
                    output=_indented(output),
                    file=self.file,
                    sha256=self.sha256,
                    variable=LOCAL_COPIES,
                )
            )

    def _pip(self, directory: Path) -> list[str]:
        requirements = directory / "requirements.txt"
        requirements.write_text(f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n")
        # --no-binary for this project only, because pip prepares its metadata and the build requirements may be wheels.
        arguments = ["--no-deps", f"--no-binary={self.name}", "--require-hashes", "--disable-pip-version-check"]
        return [sys.executable, "-m", "pip", "download", *arguments, "-r", str(requirements), "-d", str(directory)]


def pinned(name: str) -> Archive:
    """The source distribution of this project that sdists.txt pins."""
    for line in PINS.read_text().splitlines():
        if line.startswith(f"{name}=="):
            requirement, _, sha256 = line.partition(" --hash=sha256:")
            return Archive(name, requirement.partition("==")[2], sha256.strip())
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


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-15:])


def _verify(archive: Path, sha256: str) -> None:
    actual = hashlib.sha256(archive.read_bytes()).hexdigest()
    if actual != sha256:
        raise SuiteError(f"{archive} has the sha256 {actual}, and the pin is {sha256}: remove the file")


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
