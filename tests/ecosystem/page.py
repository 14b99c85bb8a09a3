"""docs/ecosystem.md, generated from the kept results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .results import Record, ratio

_HEAD = """\
# Libraries on sfloop

<!-- Written by `make ecosystem` from tests/ecosystem/results.json. Do not edit. -->

`make ecosystem` runs the test suites of these projects on sfloop and on asyncio's own loop, from the source of the pinned releases. It also runs
each library over a bypass stack between two network namespaces. `make ecosystem-quick` runs a part of each suite. The [testing page](testing.md#other-projects-suites)
says how to add a suite.

## Suites

The loop is chosen by asyncio's own means: its default policy and its loop classes give sfloop loops. A test that fails on one loop only runs there a
second time. *White-box* counts tests that fail only on sfloop because they test the internals of asyncio's loop. Times are of one run, with one test
at a time; *busy*: other programs kept the machine busy, so the times say nothing.

| suite | version | passed | failed on both | white-box | asyncio | sfloop | ratio | verified |
|---|---|---|---|---|---|---|---|---|
"""
_STACKS = """
## Stacks

The column *calls* has the methods of the loop and the functions of asyncio that the library's source calls. Each library's client and server ran over
`packet` and `af_xdp`, with asyncio at the other end. The loop's counters (`loop.stats()`) say which stack received and sent the bytes: `tcpip`
is sfloop's own TCP, past the kernel; `kernel` is the kernel's.

| suite | calls | client over packet | client over af_xdp | server over packet | server over af_xdp |
|---|---|---|---|---|---|
"""


def render(records: Mapping[str, Record]) -> str:
    """The page's text."""
    suites = "".join(f"{_suite_row(name, result)}\n" for name, result in records.items())
    stacks = "".join(f"{_stack_row(name, result)}\n" for name, result in records.items())
    return _HEAD + suites + _STACKS + stacks + "".join(_exceptions(records))


def _suite_row(name: str, result: Record) -> str:
    mine = result["sfloop"]
    verified = f"{result['date']}, Python {result['python']}"
    cells = (
        name,
        result["version"],
        mine["passed"],
        len(result["on_both"]),
        len(result["white_box"]),
        *(["busy"] * 3 if result["busy"] else _times(result)),
        verified,
    )
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _times(result: Record) -> list[str]:
    seconds = [result[loop]["seconds"] for loop in ("asyncio", "sfloop")]
    return [*(f"{each:.1f} s" for each in seconds), f"{ratio(result):.2f}"]


def _stack_row(name: str, result: Record) -> str:
    used = ", ".join(f"`{call}`" for call in result["calls"])
    through = f"by {result['through']}" if result["through"] else ""
    carried = result["carried"]
    stacks = [
        carried.get(role, {}).get(driver, "–") for role in ("client", "server") for driver in ("packet", "af_xdp")
    ]
    return f"| {' | '.join((name, '; '.join(text for text in (used, through) if text) or '–', *stacks))} |"


def _exceptions(records: Mapping[str, Record]) -> Iterator[str]:
    listed = {name: result for name, result in records.items() if result["white_box"]}
    if listed:
        yield "\n## White-box tests\n\nThese tests fail on sfloop because they test the internals of asyncio's loop.\n"
    for name, result in listed.items():
        by_reason: dict[str, list[str]] = {}
        for test_id, reason in result["white_box"].items():
            by_reason.setdefault(reason, []).append(test_id)
        yield f"\n{name}:\n\n"
        for reason, tests in by_reason.items():
            yield f"- {reason}: {', '.join(f'`{test}`' for test in tests)}\n"
    yield "\n## Tests that are left out\n\nThese tests run on neither loop.\n\n"
    for name, result in records.items():
        for expression, reason in result["left_out"].items():
            shown = expression.replace("|", "\\|")
            yield f"- {name}: `{shown}`: {reason}\n"
