"""Another build of sfloop, in another virtual environment, for comparison with this one (``--against``)."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfloop.bench.errors import BenchError

#: Runs this checkout's programs on the sfloop of the interpreter that executes this file.
BOOTSTRAP = Path(__file__).with_name("elsewhere.py")
#: Seconds that the other interpreter may take to import sfloop, because an editable build compiles its changes first.
IMPORT_LIMIT = 600.0


@dataclass(frozen=True)
class Build:
    """An sfloop outside this process: its location and version."""

    #: The virtual environment, as given, and its interpreter.
    folder: str
    python: str
    #: sfloop's version, its commit if it is in a checkout, and the package's folder.
    version: str
    commit: str
    package: str
    #: The difference between its Python and this one; "" if there is none.
    other_python: str

    @property
    def command(self) -> list[str]:
        """The command that runs a program of this checkout's bench on that sfloop. The arguments of ``serve``
        follow."""
        return [self.python, str(BOOTSTRAP)]

    @property
    def ef_vi_simulator(self) -> Path:
        """The ef_vi driver for the simulator, which `make bench` builds in that checkout. The file may be missing."""
        return Path(self.package).parent / "build" / f"{Path(self.folder).resolve().name}.ef_vi.so"


def commit_of(package: str | Path) -> str:
    """The commit of a package's checkout, with ``-dirty`` if it has changes; "" outside a checkout."""
    command = ["git", "-C", str(package), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    # A package that is installed in an environment inside a checkout does not belong to the checkout's commit.
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
    """The build in a virtual environment. Raises BenchError with the reason if there is none."""
    option = f'--against is "{folder}"'
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise BenchError(f"{option}, which {what}; name a virtual environment, such as /path/to/checkout/.venv")
    # Do not resolve the link, because an environment's interpreter finds its environment by the link's path.
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
