"""``python tests/ecosystem [--quick] [--suite NAME] …``: run the suites, print the table, and write the page.

The exit status is 1 if a test fails only on sfloop without being listed, and 2 if a suite could not run.
"""

from __future__ import annotations

import argparse
import fcntl
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a directory: make the package importable by its name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from conformance.forkserver.suite import SuiteError

from ecosystem import carrying, page, results, suite
from ecosystem.environment import prepared
from ecosystem.running import run

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KEPT = HERE / "results.json"
PAGE = ROOT / "docs" / "ecosystem.md"


def main() -> int:
    options = _parser().parse_args()
    known = suite.load()
    if options.page:
        PAGE.write_text(page.render(results.read(KEPT)))
        return 0
    if unknown := [name for name in options.suite if name not in known]:
        print(f"There is no suite {', '.join(unknown)}. The suites are: {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = [known[name] for name in options.suite or known]
    if options.quick:
        chosen = [each for each in chosen if each.quick]
    options.environment.mkdir(parents=True, exist_ok=True)
    with (options.environment / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may update the environment
        return _run(chosen, list(known.values()), options)


def _absolute(text: str) -> Path:
    """A path for processes that run in other folders."""
    return Path(text).absolute()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run other projects' test suites on sfloop and on asyncio.")
    parser.add_argument("--quick", action="store_true", help="a part of each suite; the page is not written")
    parser.add_argument("--suite", action="append", default=[], metavar="NAME", help="run this one; may be repeated")
    parser.add_argument("--environment", type=_absolute, default=ROOT / ".venv-ecosystem", help="default: %(default)s")
    parser.add_argument("--page", action="store_true", help=f"only write {PAGE.name} from {KEPT.name}")
    return parser


def _say(line: str) -> None:
    print(line, flush=True)


def _run(chosen: list[suite.Suite], known: list[suite.Suite], options: argparse.Namespace) -> int:
    done: dict[str, results.Record] = {}
    not_run: dict[str, str] = {}
    for each in chosen:
        try:
            done[each.name] = _one(each, known, options)
        except SuiteError as error:
            _say(f"{each.name} did not run: {error}")
            not_run[each.name] = str(error).splitlines()[0]
    if not options.quick:
        kept = {**results.read(KEPT), **done}
        results.write(KEPT, kept)
        PAGE.write_text(page.render(results.read(KEPT)))
    _say(f"\n{results.table(done, not_run)}")
    bad = [name for name, result in done.items() if result["only_on_sfloop"] or result["stale"] or result["broken"]]
    passed = sum(result["sfloop"]["passed"] for result in done.values())
    _say(f"{passed} passed, {sum(len(result['only_on_sfloop']) for result in done.values())} failed")
    return 1 if bad else 2 if not_run else 0


def _one(each: suite.Suite, known: list[suite.Suite], options: argparse.Namespace) -> results.Record:
    shared = [other for other in known if other.environment == each.environment]
    directory = options.environment / each.environment
    python = prepared(directory, {need for other in shared for need in other.needs})
    result = run(each, python, quick=options.quick, say=_say)
    carried: carrying.Carried = {}
    if each.probe and not options.quick:
        if reason := carrying.unavailable():
            _say(f"{each.name} over a bypass stack: not tried, because {reason}")
        else:
            carried = carrying.probe(each.probe, python)
            _say(f"{each.name} over a bypass stack: {carried}")
    return results.record(each, result, carried, quick=options.quick)


if __name__ == "__main__":
    sys.exit(main())
