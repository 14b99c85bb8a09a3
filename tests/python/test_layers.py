"""The structure checker of the lint step: it passes this repository, and fails trees that break each of its rules."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECKER = ROOT / "tools" / "check_structure.py"

#: A tree in which every file is in its place, with a file of every layer.
LAWFUL = {
    "sfloop/native/include/sf/base.h": "#include <stdint.h>\n",
    "sfloop/native/include/sf/driver.h": '#include "sf/base.h"\n',
    "sfloop/native/include/sf/stack.h": '#include "sf/base.h"\n#include <sys/uio.h>\n',
    "sfloop/native/include/sf/engine.h": '#include "sf/stack.h"\n',
    "sfloop/native/wire/tcp.h": '#include "sf/base.h"\n',
    "sfloop/native/wire/tcp.c": '#include "tcp.h"\n',
    "sfloop/native/drivers/shm/driver.c": '#include "sf/driver.h"\n#include <sys/mman.h>\n',
    "sfloop/native/tcpip/tcpip.h": '#include "sf/driver.h"\n',
    "sfloop/native/tcpip/tcp/loss/rack.c": '#include "wire/tcp.h"\n',
    "sfloop/native/drivers/af_xdp/rings.h": '#include "sf/base.h"\n',
    "sfloop/native/wire/udp.h": '#include "sf/base.h"\n',
    "sfloop/native/tcpip/demux.c": '#include "tcpip.h"\n#include "wire/tcp.h"\n',
    "sfloop/native/stacks/kernel/stack.c": '#include "sf/stack.h"\n',
    "sfloop/native/stacks/tcpip/stack.c": '#include "sf/stack.h"\n#include "tcpip/tcpip.h"\n',
    "sfloop/native/engine/turn.c": '#include "sf/engine.h"\n#include "sf/stack.h"\n',
    "sfloop/native/cores/engine.pxd": 'cdef extern from "sf/engine.h" nogil:\n    pass\n',
    "sfloop/native/cores/core.pyx": (
        'from libc.stdint cimport uint32_t\nfrom sfloop.native.cores.engine cimport *\ncdef extern from "Python.h":\n'
        "    pass\nimport asyncio\n"
    ),
    "sfloop/native/cores/part.pxi": "cdef int part\n",
    "sfloop/native/__init__.py": "",
    "sfloop/__init__.py": "from sfloop.options.options import Options\n",
    "sfloop/options/options.py": "import os\n",
    "sfloop/backends/available.py": "from sfloop.options.options import Options\n",
    "sfloop/transports/__init__.py": "",
    "sfloop/transports/stream.py": (
        "from typing import TYPE_CHECKING\nfrom sfloop.native.cores import core\nfrom . import base\n"
        "if TYPE_CHECKING:\n    from sfloop.loop import Loop\n"
    ),
    "sfloop/transports/base.py": "",
    "sfloop/loop.py": "from sfloop.options.options import Options\nfrom sfloop.transports.stream import X\n",
    "sfloop/runner.py": "def make():\n    from sfloop import loop\n",
    "sfloop/demo/__init__.py": "import sfloop\nfrom sfloop import backends\nfrom . import feed\n",
    "sfloop/demo/feed.py": "",
    "sfloop/commands/cli.py": "import sfloop\nfrom sfloop import demo\nfrom sfloop.options.options import Options\n",
}


def check(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHECKER), str(root)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in LAWFUL.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_this_repository() -> None:
    done = check(ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_documentation_has_every_layer() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    tables = "\n".join(line for line in page[page.index("## Layers") :].splitlines() if line.startswith("| "))
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from layers import rules
    finally:
        sys.path.remove(str(ROOT / "tools"))
    modules = {module.removeprefix("sfloop.") for module in rules.PYTHON_MODULES} - {"sfloop", "__main__"}
    for name in modules | {folder.rsplit("/", 1)[-1] for folder in rules.C_LAYERS}:
        assert re.search(rf"[`/]{name}`", tables), f"docs/architecture.md lists no layer {name}"


def test_a_lawful_tree(tree: Path) -> None:
    done = check(tree)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("native/wire/tcp.c", '#include "sf/stack.h"', "wire may not include sf/stack.h: it may use base.h"),
        ("native/wire/tcp.c", '#include "tcpip/tcpip.h"', "wire may not include tcpip/tcpip.h"),
        ("native/wire/tcp.c", '#include "../tcpip/tcpip.h"', "wire may not include ../tcpip/tcpip.h"),
        ("native/tcpip/tcp/loss/rack.c", '#include "tcpip/tcpip.h"', "tcpip/tcp/loss may not include tcpip/tcpip.h"),
        ("native/tcpip/tcp/loss/rack.c", '#include "wire/udp.h"', "tcpip/tcp/loss may not include wire/udp.h"),
        (
            "native/drivers/shm/driver.c",
            '#include "drivers/af_xdp/rings.h"',
            "drivers/shm may not include drivers/af_xdp/rings.h",
        ),
        ("native/drivers/shm/driver.c", '#include "sf/stack.h"', "drivers/shm may not include sf/stack.h"),
        ("native/drivers/shm/driver.c", "#include <sf/engine.h>", "drivers/shm may not include sf/engine.h"),
        ("native/drivers/shm/driver.c", '#include "wire/tcp.h"', "drivers/shm may not include wire/tcp.h"),
        ("native/tcpip/demux.c", '#include "sf/stack.h"', "tcpip may not include sf/stack.h"),
        ("native/tcpip/demux.c", '  #  include "sf/engine.h"', "tcpip may not include sf/engine.h"),
        ("native/stacks/kernel/stack.c", '#include "sf/engine.h"', "stacks/kernel may not include sf/engine.h"),
        ("native/stacks/kernel/stack.c", '#include "sf/driver.h"', "stacks/kernel may not include sf/driver.h"),
        ("native/stacks/kernel/stack.c", '#include "wire/tcp.h"', "stacks/kernel may not include wire/tcp.h"),
        ("native/engine/turn.c", '#include "sf/driver.h"', "engine may not include sf/driver.h"),
        ("native/engine/turn.c", '#include "tcpip/tcpip.h"', "engine may not include tcpip/tcpip.h"),
        ("native/include/sf/base.h", '#include "sf/stack.h"', "base.h may not include sf/stack.h"),
        ("native/include/sf/stack.h", '#include "sf/engine.h"', "stack.h may not include sf/engine.h"),
        ("native/include/sf/stack.h", '#include "sf/driver.h"', "stack.h may not include sf/driver.h"),
        ("native/engine/turn.c", "#include <Python.h>", "handwritten C does not include Python.h"),
        ("native/stacks/kernel/stack.c", '#include "Python.h"', "handwritten C does not include Python.h"),
        ("native/wire/tcp.c", "#include <tcpip/tcpip.h>", "wire may not include tcpip/tcpip.h"),
        ("native/wire/tcp.c", "#include <sys/socket.h>", "wire is pure, and may not include sys/socket.h"),
        ("native/tcpip/tcp/loss/rack.c", "#include <sys/uio.h>", "tcpip/tcp/loss is pure, and may not include sys/uio"),
        ("native/tcpip/tcp/loss/rack.c", "    now = sf_now();", "tcpip/tcp/loss is pure, and may not call sf_now()"),
        (
            "native/tcpip/tcp/loss/rack.c",
            "    clock_gettime(CLOCK_MONOTONIC, &now);",
            "tcpip/tcp/loss is pure, and may not call clock_gettime()",
        ),
        (
            "native/tcpip/tcp/loss/rack.c",
            "extern int socket(int, int, int);",
            "tcpip/tcp/loss is pure, and may not declare socket()",
        ),
        ("native/cores/engine.pxd", 'cdef extern from "wire/udp.h":', "Cython may not declare wire/udp.h"),
        ("native/cores/core.pyx", "cdef extern from 'tcpip/tcpip.h' nogil:", "Cython may not declare tcpip/tcpip.h"),
        ("native/cores/core.pyx", "from sfloop.loop cimport Loop", "Cython may not cimport sfloop.loop"),
        ("native/cores/core.pyx", "cimport numpy", "Cython may not cimport numpy"),
        ("native/cores/part.pxi", "from sfloop.loop import Loop", "native may not import sfloop.loop (loop)"),
        ("native/cores/core.pyx", "from sfloop.loop import Loop", "native may not import sfloop.loop (loop)"),
        (
            "native/cores/core.pyx",
            "    import sfloop.options.options",
            "native may not import sfloop.options.options (options)",
        ),
        ("native/__init__.py", "import sfloop", "native may not import sfloop (package)"),
        ("transports/stream.py", "from sfloop.loop import Loop", "transports may not import sfloop.loop (loop)"),
        ("transports/stream.py", "from sfloop import loop", "transports may not import sfloop.loop (loop)"),
        ("transports/stream.py", "from ..loop import Loop", "transports may not import sfloop.loop (loop)"),
        ("transports/stream.py", "def f():\n    import sfloop.loop", "transports may not import sfloop.loop (loop)"),
        ("transports/stream.py", "from .. import options", "transports may not import sfloop.options (options)"),
        ("options/options.py", "from sfloop.loop import Loop", "options may not import sfloop.loop (loop)"),
        ("loop.py", "from sfloop.runner import Runner", "loop may not import sfloop.runner (running)"),
        ("loop.py", "import sfloop", "loop may not import sfloop (package)"),
        ("runner.py", "from sfloop.commands import cli", "running may not import sfloop.commands.cli (commands)"),
        ("demo/__init__.py", "from sfloop.native.cores import core", "demo may not import sfloop.native.cores.core"),
        ("demo/__init__.py", "from ..loop import Loop", "demo may not import sfloop.loop (loop)"),
        ("demo/feed.py", "from ..commands import cli", "demo may not import sfloop.commands.cli (commands)"),
    ],
)
def test_a_breach(tree: Path, name: str, line: str, says: str) -> None:
    path = tree / "sfloop" / name
    path.write_text(path.read_text() + line + "\n")
    done = check(tree)
    assert done.returncode == 1
    (breach,) = done.stdout.splitlines()
    number = len(path.read_text().splitlines())
    assert breach.startswith(f"sfloop/{name}:{number}: {says}")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("native/misc/x.c", "misc is no layer of the native code"),
        ("native/include/sf/misc.h", "misc.h is no layer of the native code"),
        ("misc.py", "sfloop.misc is in no layer"),
    ],
)
def test_what_has_no_place(tree: Path, name: str, says: str) -> None:
    path = tree / "sfloop" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    done = check(tree)
    assert done.returncode == 1
    assert says in done.stdout


def test_importing_what_has_no_place(tree: Path) -> None:
    (tree / "sfloop/loop.py").write_text("import sfloop.misc\n")
    assert "sfloop.misc is in no layer" in check(tree).stdout


def test_imports_for_type_checkers_and_their_alternative(tree: Path) -> None:
    path = tree / "sfloop/transports/stream.py"
    path.write_text(
        "import typing\nif typing.TYPE_CHECKING:\n    import sfloop.loop\nelse:\n    import sfloop.runner\n"
    )
    (breach,) = check(tree).stdout.splitlines()
    assert "transports may not import sfloop.runner" in breach


def test_a_folder_that_is_no_repository(tmp_path: Path) -> None:
    done = check(tmp_path)
    assert done.returncode == 2
    assert "give the root of the repository" in done.stderr


def c_function(lines: int) -> str:
    return "static int much(\n    int a)\n{\n" + "    a++;\n" * lines + "}\n"


def c_function_with_its_brace_in_the_head(lines: int) -> str:
    return "struct a {\n    int b;\n};\n\nstatic int much(int a) {\n" + "    a++;\n" * lines + "}\n"


def python_function(lines: int) -> str:
    return 'async def much(\n    a: int\n) -> None:\n    """Not\n    counted."""\n\n' + "    a += 1\n" * lines


def cython_function(lines: int) -> str:
    head = "cdef class C:\n    cdef inline int much(\n        self, int a\n    ) except -1 nogil:\n"
    return head + '        """Not\n        counted."""\n' + "        a += 1\n" * lines


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("sfloop/native/tcpip/demux.c", 600),
        ("sfloop/native/wire/tcp.h", 600),
        ("tests/native/test_much.c", 600),
        ("sfloop/native/cores/core.pyx", 1000),
        ("sfloop/native/cores/engine.pxd", 1000),
        ("sfloop/native/cores/part.pxi", 1000),
        ("sfloop/loop.py", 400),
        ("sfloop/native/cores/core.pyi", 400),
        ("tests/python/test_much.py", 400),
        ("tools/much.py", 400),
        ("examples/much.py", 400),
        ("much.py", 400),
    ],
)
def test_long_files(tree: Path, name: str, most: int) -> None:
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n" * most)
    assert check(tree).stdout == ""
    path.write_text("\n" * (most + 1))
    done = check(tree)
    assert done.returncode == 1
    assert (
        done.stdout == f"{name}:{most + 1}: the file has {most + 1} lines, and may have {most}: split it by concept\n"
    )


@pytest.mark.parametrize(
    ("name", "function", "line"),
    [
        ("sfloop/native/tcpip/demux.c", c_function, 4),
        ("tests/native/much.h", c_function, 4),
        ("sfloop/native/tcpip/demux.c", c_function_with_its_brace_in_the_head, 6),
        ("tests/python/test_much.py", python_function, 7),
        ("sfloop/native/cores/core.pyx", cython_function, 7),
        ("sfloop/native/cores/part.pxi", cython_function, 7),
    ],
)
def test_long_functions(tree: Path, name: str, function: Callable[[int], str], line: int) -> None:
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(function(50))
    assert check(tree).stdout == ""
    path.write_text(function(51))
    done = check(tree)
    assert done.returncode == 1
    assert done.stdout == f"{name}:{line}: much has 51 lines, and may have 50: split it by concept\n"


@pytest.mark.parametrize(
    "text",
    [
        "cdef extern from *:\n    int much(int a)\n" + "    int a\n" * 60,
        "cdef class Much(object):\n" + "    cdef int a\n" * 60,
        "cdef struct much:\n" + "    int a\n" * 60,
        "cdef int much(int a)\n" + "VALUES = [\n" + "    much(1),\n" * 60 + "]\n",
        "\n".join(f"cdef int f{n}(int a):\n    return a\n" for n in range(60)),
    ],
)
def test_cython_that_is_no_long_function(tree: Path, text: str) -> None:
    (tree / "sfloop/native/cores/part.pxi").write_text(text)
    assert check(tree).stdout == ""
