"""Subprocesses: shell and exec, their pipes, their ends."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from harness.observed import Run
from python_child import PIPE, python


def test_shell(run: Run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_shell("echo out; echo err >&2; exit 3", stdout=PIPE, stderr=PIPE)
        assert await process.communicate() == (b"out\n", b"err\n")
        assert process.returncode == 3

    run(main())


def test_exec_with_input(run: Run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        assert await process.communicate(b"through cat") == (b"through cat", None)  # type: ignore[comparison-overlap]
        assert await process.wait() == 0

    run(main())


def test_megabytes_through_both_pipes(run: Run) -> None:
    data = os.urandom(1 << 20) * 8

    async def main() -> None:
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        out, _ = await process.communicate(data)
        assert out == data

    run(main())


def test_large_output_on_stdout_and_stderr_at_once(run: Run) -> None:
    body = "import sys\nfor i in range(2000): sys.stdout.write('o' * 999 + '\\n'); sys.stderr.write('e' * 999 + '\\n')"

    async def main() -> None:
        process = await asyncio.create_subprocess_exec(*python(body), stdout=PIPE, stderr=PIPE)
        out, err = await process.communicate()
        assert out == (b"o" * 999 + b"\n") * 2000
        assert err == (b"e" * 999 + b"\n") * 2000

    run(main())


def test_line_by_line(run: Run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        assert process.stdin is not None and process.stdout is not None
        for i in range(50):
            process.stdin.write(b"line %d\n" % i)
            await process.stdin.drain()
            assert await process.stdout.readline() == b"line %d\n" % i
        process.stdin.close()
        assert await process.stdout.read() == b""
        assert await process.wait() == 0

    run(main())


def test_stderr_into_stdout_and_devnull(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_shell(
            "echo err >&2", stdout=PIPE, stderr=asyncio.subprocess.STDOUT, stdin=asyncio.subprocess.DEVNULL
        )
        assert await process.communicate() == (b"err\n", None)  # type: ignore[comparison-overlap]
        with (tmp_path / "out").open("wb") as file:
            process = await asyncio.create_subprocess_shell("echo to a file", stdout=file)
            assert await process.wait() == 0
        assert (tmp_path / "out").read_text() == "to a file\n"

    run(main())


def test_a_program_that_does_not_exist(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("/no/such/program")
        process = await asyncio.create_subprocess_shell("no-such-command-at-all 2>/dev/null")
        assert await process.wait() == 127

    run(main())


def test_environment_directory_and_descriptors(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        r, w = os.pipe()
        process = await asyncio.create_subprocess_exec(
            *python(f"import os; print(os.getcwd(), os.environ['COLOUR']); os.write({w}, b'passed')"),
            stdout=PIPE,
            cwd=tmp_path,
            env={**os.environ, "COLOUR": "green"},
            pass_fds=[w],
        )
        out, _ = await process.communicate()
        assert out.decode().split() == [str(tmp_path), "green"]
        os.close(w)
        assert os.read(r, 100) == b"passed"
        os.close(r)

    run(main())


def test_the_child_inherits_no_descriptor_of_the_loop(run: Run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("ls", "-l", "/proc/self/fd", stdout=PIPE, close_fds=False)
        out, _ = await process.communicate()
        assert b"eventpoll" not in out and b"eventfd" not in out and b"socket:" not in out

    run(main())


def test_a_broken_pipe_to_the_child(run: Run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("true", stdin=PIPE)
        assert process.stdin is not None
        await process.wait()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(100):
                process.stdin.write(bytes(100_000))
                await process.stdin.drain()
                await asyncio.sleep(0.001)

    run(main())


def test_subprocess_protocol(run: Run) -> None:
    class Protocol(asyncio.SubprocessProtocol):
        def __init__(self) -> None:
            self.calls: list[Any] = []
            self.done = asyncio.get_running_loop().create_future()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.calls.append("connection_made")

        def pipe_data_received(self, fd: int, data: bytes) -> None:
            self.calls.append((fd, data))

        def pipe_connection_lost(self, fd: int, exc: BaseException | None) -> None:
            self.calls.append(("pipe lost", fd, exc))

        def process_exited(self) -> None:
            self.calls.append("process_exited")

        def connection_lost(self, exc: BaseException | None) -> None:
            self.calls.append("connection_lost")
            self.done.set_result(None)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_shell(Protocol, "echo out; echo err >&2; exit 2")
        assert isinstance(transport, asyncio.SubprocessTransport)
        assert transport.get_pid() > 0
        assert transport.get_pipe_transport(1) is not None
        await protocol.done
        assert transport.get_returncode() == 2
        assert protocol.calls[0] == "connection_made" and protocol.calls[-1] == "connection_lost"
        assert set(map(str, protocol.calls[1:-1])) == {
            "(1, b'out\\n')",
            "(2, b'err\\n')",
            "('pipe lost', 0, None)",
            "('pipe lost', 1, None)",
            "('pipe lost', 2, None)",
            "process_exited",
        }
        transport.close()

    run(main())


def test_wrong_arguments(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        protocol = asyncio.SubprocessProtocol
        with pytest.raises(ValueError, match="cmd must be a (string|bytes)"):
            await loop.subprocess_shell(protocol, ["ls"])
        for options, message in (
            ({"universal_newlines": True}, "universal_newlines must be False"),
            ({"bufsize": 100}, "bufsize must be 0"),
            ({"text": True}, "text must be False"),
            ({"encoding": "utf-8"}, "encoding must be None"),
        ):
            with pytest.raises(ValueError, match=message):
                await loop.subprocess_exec(protocol, "ls", **options)
        with pytest.raises(TypeError):
            await loop.subprocess_exec(protocol, 5)

    run(main())


def test_preexec_function_and_process_group(run: Run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            *python("import os; print(os.getpgrp() == os.getpid())"), stdout=PIPE, start_new_session=True
        )
        assert await process.communicate() == (b"True\n", None)  # type: ignore[comparison-overlap]
        process = await asyncio.create_subprocess_exec(
            *python("import os; print(os.nice(0) - " + str(os.nice(0)) + ")"),
            stdout=PIPE,
            preexec_fn=lambda: os.nice(1),
        )
        assert await process.communicate() == (b"1\n", None)  # type: ignore[comparison-overlap]

    run(main())
