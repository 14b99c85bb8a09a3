"""Tests that end in every possible way, for tests of the fork server."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import time
import unittest

#: Environment variable: a file for the id of a process that a sample starts.
PID_FILE_VARIABLE = "FORKSERVER_SAMPLES_PID_FILE"


class Samples(unittest.TestCase):
    def test_passes(self) -> None:
        asyncio.run(asyncio.sleep(0))

    def test_makes_no_loop(self) -> None:
        self.assertTrue(True)

    def test_fails(self) -> None:
        self.assertEqual(1, 2)

    def test_fails_in_a_subtest(self) -> None:
        for number in range(2):
            with self.subTest(number=number):
                self.assertEqual(number, 0)

    def test_raises(self) -> None:
        raise OSError("raised on purpose")

    def test_skips(self) -> None:
        self.skipTest("skipped on purpose")

    @unittest.expectedFailure
    def test_passes_unexpectedly(self) -> None:
        pass

    def test_hangs(self) -> None:
        print("before the hang", flush=True)
        time.sleep(600)

    def test_hangs_in_native_code(self) -> None:
        ctypes.PyDLL(None).sleep(600)  # holds the GIL

    def test_crashes(self) -> None:
        ctypes.string_at(0)

    def test_exits(self) -> None:
        os._exit(3)

    def test_leaves_a_descriptor_open(self) -> None:
        os.open(os.devnull, os.O_RDONLY)

    def test_leaves_a_process_running(self) -> None:
        process = subprocess.Popen(["sleep", "600"])
        process.returncode = 0  # suppress the ResourceWarning, because the process is left on purpose
        with open(os.environ[PID_FILE_VARIABLE], "w") as file:
            file.write(str(process.pid))

    def test_makes_asyncios_own_loop(self) -> None:
        asyncio.unix_events._UnixSelectorEventLoop().close()
