"""Another build of sfloop, in another virtual environment, to be measured beside this one (``--against``)."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfloop.bench.errors import BenchError

#: Runs this checkout's programs over the sfloop of the interpreter that is given this file.
BOOTSTRAP = Path(__file__).with_name("elsewhere.py")
#: Seconds that the other interpreter may take to import sfloop: an editable build compiles what has changed.
IMPORT_LIMIT = 600.0


@dataclass(frozen=True)
class Build:
    """An sfloop outside this process: where it is, and which one it is."""

    #: The virtual environment, as it was named, and its interpreter.
    folder: str
    python: str
    #: The version of sfloop, its commit if it is in a checkout, and the folder of the package.
    version: str
    commit: str
    package: str
    #: How its Python differs from this one; "" when it does not.
    other_python: str

    @property
    def command(self) -> list[str]:
        """What starts a program of this checkout's bench over that sfloop; the arguments of ``serve`` follow."""
        return [self.python, str(BOOTSTRAP)]

    @property
    def ef_vi_simulator(self) -> Path:
        """The ef_vi driver over its simulator, built by `make bench` in that checkout; it may not be there."""
        return Path(self.package).parent / "build" / f"{Path(self.folder).resolve().name}.ef_vi.so"


def commit_of(package: str | Path) -> str:
    """The commit of the checkout that a package is in, with ``-dirty`` when it has changes; "" outside a checkout."""
    command = ["git", "-C", str(package), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    # A package that was installed into an environment inside some checkout is not of that checkout's commit.
    return "" if done.returncode or "site-packages" in Path(package).parts else done.stdout.strip()


def _ask(python: Path, option: str) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [str(python), str(BOOTSTRAP), "--describe"],
            capture_output=True,
            text=True,
            check=False,
            timeout=IMPORT_LIMIT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{option}: {python} cannot be run ({error})") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        why = said[-1] if said else f"status {done.returncode}"
        raise BenchError(
            f"{option}: {python} has no sfloop that works ({why}); build it there: "
            "make .venv/with-bench in its checkout, or pip install 'sfloop[bench]'"
        )
    described: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return described


def find(folder: Path) -> Build:
    """The build in a virtual environment. Raises BenchError when there is none, with the reason."""
    option = f'--against is "{folder}"'
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise BenchError(f"{option}, which {what}; name a virtual environment, such as /path/to/checkout/.venv")
    # Not resolved: an environment's interpreter is a link, and knows its environment by where the link is.
    python = folder.absolute() / "bin" / "python"
    if not python.exists():
        raise BenchError(
            f"{option}, which has no bin/python; name a virtual environment, such as /path/to/checkout/.venv"
        )
    described = _ask(python, option)
    other = ""
    if described["python"] != sys.version:
        ours, theirs = sys.version.split()[0], described["python"].split()[0]
        other = f"Python {theirs} beside {ours}" if theirs != ours else f"another build of Python {theirs}"
    return Build(
        str(folder), str(python), described["version"], commit_of(described["package"]), described["package"], other
    )
