"""Pages about the C code agree with it: the states of TCP, the RFCs, the names of functions."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
NATIVE = ROOT / "sfloop" / "native"
sys.path.insert(0, str(ROOT / "tools"))
from reference import tcp_states  # noqa: E402

FUNCTION = re.compile(
    r"^(?!static const |enum |struct \w+ \{)[a-z][^;=\n]*?\b(\w+)\([^;{]*\)\s*\n\{\n(.*?)^\}", re.M | re.S
)
COMMENT = re.compile(r"/\*.*?\*/", re.S)
ASSIGNMENT = re.compile(r"\bc->state = (.*?);", re.S)
CASE = re.compile(r"\b(?:case SF_TCP_(\w+)|(default)):")
STATE = re.compile(r"SF_TCP_(\w+)")
#: Names of the code in prose: `sf_…` and `SF_…`, and members of the seams' tables.
NAME = re.compile(r"`((?:sf|SF|td|TD)_\w+|struct sf_\w+|(?:rx|tx)_(?:burst|release|reserve|commit|cancel|flush))`")


def sources(*patterns: str) -> dict[Path, str]:
    return {path: path.read_text() for pattern in patterns for path in sorted(NATIVE.rglob(pattern))}


def functions(text: str) -> Iterator[tuple[str, str]]:
    yield from FUNCTION.findall(COMMENT.sub("", text))


def changes() -> set[tuple[str, str | None, str]]:
    """(function, state before if the code names it, state after) of each assignment of a connection's state."""
    found = set()
    for text in sources("*.c").values():
        if "sf_tcp_conn" not in text:
            continue
        for name, body in functions(text):
            for assignment in ASSIGNMENT.finditer(body):
                value = STATE.findall(assignment[1])
                if len(value) == 3:  # state == A ? B : C
                    found |= {(name, value[0], value[1]), (name, None, value[2])}
                    continue
                assert len(value) == 1, (name, assignment[0])
                cases = [case[1] for case in CASE.finditer(body, 0, assignment.start())]
                found.add((name, cases[-1] if cases else None, value[0]))
    return found


def test_states_are_those_of_the_code() -> None:
    (body,) = [
        found[1]
        for text in sources("*.h").values()
        for found in re.finditer(r"enum sf_tcp_state \{(.*?)\};", text, re.S)
    ]
    assert tcp_states.states() == set(STATE.findall(COMMENT.sub("", body)))
    everything = "\n".join(sources("*.h", "*.c").values())
    for record in tcp_states.RECORDS.values():
        assert f"{record} {{" in everything


def test_every_change_of_state_is_drawn_and_no_other() -> None:
    drawn = {(each.function, each.before, each.after) for each in (*tcp_states.TRANSITIONS, *tcp_states.IMPORTS)}
    in_code = changes()
    assert {"sf_tcp_conn_establish", "fin_input", "fin_acked"} <= {name for name, _, _ in in_code}
    for name, before, after in in_code:
        if name in tcp_states.ENDS:
            assert after == "CLOSED"
        elif before is None:
            assert any((name, after) == (each[0], each[2]) for each in drawn), (name, after)
        else:
            assert (name, before, after) in drawn
    changed = {(name, after) for name, _, after in in_code}
    for name, before, after in drawn:
        if after != "CLOSED":
            assert (name, after) in changed, f"{before} to {after}: {name}() assigns no such state"


def test_the_page_has_every_change_of_state() -> None:
    page = (ROOT / "docs" / "tcp-operation.md").read_text()
    for transition in (*tcp_states.TRANSITIONS, *tcp_states.IMPORTS):
        assert tcp_states.row(transition) in page


def test_drawings_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "write_drawings.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_names_of_the_code_exist() -> None:
    code = set(re.findall(r"\w+", "\n".join(sources("*.[ch]", "*.pyx", "*.pxd", "*.pxi").values())))
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *NATIVE.rglob("*.md")]
    for page in pages:
        if page.name == "CHANGELOG.md":
            continue
        for name in NAME.findall(page.read_text()):
            assert name.removeprefix("struct ") in code, f"{page.relative_to(ROOT)} names {name}"


def test_every_rfc_that_the_code_names_is_on_the_page() -> None:
    named = {number for text in sources("*.[ch]").values() for number in re.findall(r"\bRFC\s+(?:\*\s*)?(\d+)", text)}
    page = (ROOT / "docs" / "rfcs.md").read_text()
    listed = {number for line in page.splitlines() if line.startswith("| ") for number in re.findall(r"\d{3,4}", line)}
    assert named - {"793"} <= listed  # 9293 replaces it
