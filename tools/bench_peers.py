"""Install the event loops that the bench measures beside sfloop, one by one, and record which cannot be installed.

``python tools/bench_peers.py FILE`` writes a JSON object to FILE: package → reason, for each peer that is missing. Only
wheels are installed, because to build a peer needs compilers of other languages.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import subprocess
import sys
from pathlib import Path

from sfloop.bench.loops import PEERS

PIP = (sys.executable, "-m", "pip", "install", "--quiet", "--only-binary", ":all:")


def reason_of(errors: str) -> str:
    """pip's reason for not installing a package, from its standard error."""
    if "No matching distribution found" in errors:
        version = ".".join(platform.python_version_tuple()[:2])
        return f"PyPI has no wheel of it for CPython {version} on {platform.machine()}"
    lines = [line.removeprefix("ERROR: ") for line in errors.splitlines() if line.startswith("ERROR: ")]
    return f"pip could not install it ({lines[-1]})" if lines else "pip could not install it"


def main(file: str) -> int:
    """Install the available peers and write the reasons for the others. A missing peer is not an error."""
    missing = {}
    for package in PEERS:
        if importlib.util.find_spec(package) is not None:
            continue
        done = subprocess.run([*PIP, package], capture_output=True, text=True, check=False)
        if done.returncode:
            missing[package] = reason_of(done.stderr)
    for package, reason in missing.items():
        print(f"The bench goes without {package}: {reason}")
    Path(file).write_text(json.dumps(missing) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
