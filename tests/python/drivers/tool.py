"""tests/native/driver_tool.c: compiled once, run in a namespace, controlled by lines of text."""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from harness.link import INTERFACE, Side

ROOT = Path(__file__).resolve().parents[3]
NATIVE = ROOT / "sfloop" / "native"
LIMIT = 10.0


def compile_tool(folder: Path, driver: str) -> Path:
    """Compile the program with this driver, with the address and undefined behaviour sanitizers."""
    program = folder / f"driver_tool_{driver}"
    command = [
        *shlex.split(os.environ.get("CC", "cc")),
        *("-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"),
        *("-fno-sanitize-recover=all", "-I", str(NATIVE / "include"), "-I", str(NATIVE), "-o", str(program)),
        str(ROOT / "tests" / "native" / "driver_tool.c"),
        *(str(path) for folder in (driver, "kernel") for path in sorted((NATIVE / "drivers" / folder).glob("*.c"))),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


class OpenError(Exception):
    """The error of a driver's open function."""

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(errno, message)
        self.errno = errno
        self.message = message


class Tool:
    """A running driver_tool."""

    def __init__(
        self,
        program: Path,
        side: Side,
        driver: str,
        *arguments: str,
        interface: str = INTERFACE,
        before: Callable[[], None] | None = None,
        inside: bool = False,
    ) -> None:
        """`before` runs in the process that becomes the program; `inside`: it is in the namespace already."""
        # The leak check at the end attaches to its own process, and a process that changed its user may not do that.
        environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
        environment["ASAN_OPTIONS"] = f"detect_leaks={0 if before else 1}"
        enter = [] if inside else ["ip", "netns", "exec", side.namespace]
        self.buffer = b""
        self.process = subprocess.Popen(
            [*enter, str(program), driver, interface, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            preexec_fn=before,
        )
        answer = self.read_line()
        if answer.startswith("error "):
            self.process.communicate(timeout=LIMIT)
            _, errno, message = answer.split(" ", 2)
            raise OpenError(int(errno), message)
        assert answer.startswith("ready "), answer
        self.mode = answer[6:]

    def read_line(self) -> str:
        assert self.process.stdout is not None
        deadline = time.monotonic() + LIMIT
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise AssertionError("driver_tool does not answer")
            taken = os.read(self.process.stdout.fileno(), 65536)
            assert taken, f"driver_tool has ended: {self.process.wait(LIMIT)}"
            self.buffer += taken
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def ask(self, command: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())
        self.process.stdin.flush()
        return self.read_line()

    def numbers(self, command: str) -> dict[str, int]:
        """Return the numbers that `caps`, `stats` or `counts` answers."""
        pairs = (pair.split("=", 1) for pair in self.ask(command).split(" ") if "=" in pair)
        return {name: int(value) for name, value in pairs if value.isdigit()}

    def do(self, command: str) -> str:
        """Run a command that has to succeed; return the text after its ok."""
        answer = self.ask(command)
        assert answer.startswith("ok"), f"{command}: {answer}"
        return answer[3:]

    def fill(self, flow: str, ports: range) -> None:
        """Add a flow for each port; the ports end the flow's name. Many commands are under way at a time."""
        assert self.process.stdin is not None
        for start in range(0, len(ports), 50):
            chosen = ports[start : start + 50]
            self.process.stdin.write("".join(f"add {flow}:{port}\n" for port in chosen).encode())
            self.process.stdin.flush()
            for port in chosen:
                assert self.read_line() == "ok", port

    def kill(self) -> None:
        self.process.kill()
        self.close(status=-9)

    def close(self, status: int = 0) -> None:
        out, _ = self.process.communicate(timeout=LIMIT)
        assert self.process.returncode == status, (self.process.returncode, out)


#: Opens a driver by name on the near end of a link; compiles the program with one driver in it.
Opener = Callable[..., Tool]
Programs = Callable[[str], Path]
