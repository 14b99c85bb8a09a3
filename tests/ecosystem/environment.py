"""The virtual environment of the suites: pinned packages from PyPI, and the checkout's own build of sfloop.

It is apart from the one that sfloop's tests use, because the suites pin versions, and because some suites behave
differently if packages such as uvloop are there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from conformance.forkserver.suite import SuiteError

#: For the runner's own plugins, and for sfloop.
ALWAYS = ("cffi==2.1.1", "pytest==9.2.0", "pytest-xdist==3.8.0", "pytest-timeout==2.4.0", "psutil==7.2.2")
#: Meson's list of the files that an installation copies, in a build folder.
_PLAN = "meson-info/intro-install_plan.json"

UNREACHABLE = """\
the packages that the suites need could not be installed:
    {command}
failed with:
{output}
The suites need PyPI or an index that pip is configured to use (PIP_INDEX_URL, PIP_FIND_LINKS)."""


def prepared(directory: Path, requirements: Iterable[str]) -> str:
    """The interpreter of a virtual environment with these requirements. Makes or updates it if necessary.

    Raises SuiteError if a package cannot be installed.
    """
    wanted = sorted({*ALWAYS, *requirements})
    python = directory / "bin" / "python"
    stamp = directory / "installed"
    key = hashlib.sha256("\n".join((*wanted, sys.version)).encode()).hexdigest()
    if not (python.exists() and stamp.exists() and stamp.read_text() == key):
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(directory)], check=True)
        _install(str(python), wanted)
        stamp.write_text(key)
    _copy_sfloop(directory)
    return str(python)


def _install(python: str, requirements: list[str]) -> None:
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if run.returncode != 0:
        lines = [line for line in run.stdout.splitlines() if not line.startswith("WARNING")]
        output = "\n".join(f"    {line}" for line in lines[-15:])
        raise SuiteError(UNREACHABLE.format(command=" ".join(command), output=output))


def _copy_sfloop(directory: Path) -> None:
    """Put this checkout's build of sfloop into the environment, as an installation would.

    The editable installation of the tests' environment is not lent, because it looks for changed sources at each start
    of Python, and tests start Python often.
    """
    site = directory / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    shutil.rmtree(site / "sfloop", ignore_errors=True)
    build = Path(__file__).resolve().parents[2] / "build" / Path(sys.prefix).name
    plan = json.loads((build / _PLAN).read_text())
    for source, target in installed_files(plan):
        (site / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, site / target)


def installed_files(plan: Mapping[str, Mapping[str, Mapping[str, str]]]) -> Iterator[tuple[str, str]]:
    """Each file of the package: where it is, and its path in site-packages."""
    for entries in plan.values():
        for source, entry in entries.items():
            place, _, path = entry["destination"].partition("/")
            if place in ("{py_platlib}", "{py_purelib}"):
                yield source, path
