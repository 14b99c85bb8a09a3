"""The vendors' libraries, headers and modules. A machine without a Solarflare NIC needs none of them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from typing import Final

from sfloop.doctor.finding import Finding
from sfloop.doctor.machine import Machine

_DIRECTORIES: Final = ("/usr/lib64", "/usr/lib/*-linux-gnu", "/usr/lib", "/lib64", "/usr/local/lib", "/usr/local/lib64")
#: (name, file, user, environment variable that names the file, or None)
_LIBRARIES: Final[tuple[tuple[str, str, str, str | None], ...]] = (
    ("TCPDirect", "libonload_zf.so.1", "the stack tcpdirect", "SFLOOP_TCPDIRECT_LIBRARY"),
    ("Onload", "libonload.so", "the stack onload", None),
)
_ONLOAD: Final = "install Onload and TCPDirect from AMD, or build Xilinx-CNS/onload and Xilinx-CNS/tcpdirect"


def check(machine: Machine) -> Iterator[Finding]:
    wanted = bool(machine.solarflare())
    for name, file, user, variable in _LIBRARIES:
        yield _library(machine, name, file, user, variable, wanted)
    yield _headers(machine, wanted)
    yield _modules(machine, wanted)


def _library(machine: Machine, name: str, file: str, user: str, variable: str | None, wanted: bool) -> Finding:
    found = _locate(machine, file, machine.process.environ.get(variable, "") if variable else "")
    if found is not None:
        return Finding("libraries", name, "pass", found)
    if wanted:
        return Finding("libraries", name, "warn", f"{file} is not installed; {user} needs it", command=_ONLOAD)
    return Finding("libraries", name, "pass", f"{file} is not installed, but no Solarflare NIC needs it")


def _locate(machine: Machine, file: str, named: str) -> str | None:
    directories = [*machine.process.environ.get("LD_LIBRARY_PATH", "").split(":"), *_DIRECTORIES]
    for candidate in (named, *(f"{directory}/{file}" for directory in directories if directory)):
        for path in glob.glob(str(machine.path(candidate))) if candidate else ():
            version = os.path.basename(os.path.realpath(path))
            shown = "/" + os.path.relpath(path, machine.root)
            return shown if version == file else f"{shown} ({version})"
    return None


def _headers(machine: Machine, wanted: bool) -> Finding:
    for directory in ("/usr/include", "/usr/local/include"):
        if machine.exists(f"{directory}/etherfabric/vi.h"):
            return Finding("libraries", "ef_vi headers", "pass", f"{directory}/etherfabric")
    reason = "etherfabric/vi.h is not installed"
    if wanted:
        return Finding(
            "libraries", "ef_vi headers", "warn", f"{reason}; the driver ef_vi is built with it", command=_ONLOAD
        )
    return Finding("libraries", "ef_vi headers", "pass", f"{reason}, but no Solarflare NIC needs it")


def _modules(machine: Machine, wanted: bool) -> Finding:
    loaded = [
        f"{module} {machine.find(f'/sys/module/{module}/version') or ''}".strip()
        for module in ("sfc", "sfc_resource", "sfc_char", "onload", "xilinx_efct")
        if machine.exists(f"/sys/module/{module}")
    ]
    if machine.exists("/sys/module/sfc_char") and not machine.exists("/dev/sfc_char"):
        return Finding(
            "modules",
            "",
            "fail",
            "sfc_char is loaded but /dev/sfc_char is missing: the container hides it",
            command="docker run --device /dev/sfc_char --device /dev/onload …",
        )
    if wanted and not machine.exists("/sys/module/sfc_char"):
        return Finding(
            "modules",
            "",
            "warn",
            f"ef_vi and TCPDirect need the module sfc_char; loaded: {', '.join(loaded) or 'none'}",
            command="onload_tool reload   # or: modprobe sfc_char onload",
        )
    return Finding(
        "modules", "", "pass", ", ".join(loaded) or "none of Solarflare's is loaded, but no such NIC needs one"
    )
