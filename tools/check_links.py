"""``python tools/check_links.py [ROOT]``: check that relative links of the documentation lead to a file and a heading.

Prints one line for each broken link. The exit status is 1 if there is one. Links to the web are not checked.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

#: Folders that are not in the repository.
SKIPPED = frozenset({"build", "dist", "node_modules", "__pycache__"})

_FENCE = re.compile(r"^ *(```|~~~)")
_CODE = re.compile(r"(`+).+?\1")
_LINK = re.compile(r"\]\(<?([^()\s<>]+(?:\([^()\s]*\)[^()\s<>]*)?)>?(?: +\"[^\"]*\")?\)|\b(?:src|href)=\"([^\"]+)\"")
_REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]: +<?([^\s>]+)")
_HEADING = re.compile(r"^ {0,3}#{1,6} +(.*?)(?: +#+)? *$")
_ANCHOR = re.compile(r"<a (?:id|name)=\"([^\"]+)\"")
_ELSEWHERE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)


def pages(root: Path) -> Iterator[Path]:
    """The Markdown files of the repository at ``root``."""
    for path in sorted(root.rglob("*.md")):
        if not any(part.startswith(".") or part in SKIPPED for part in path.relative_to(root).parts[:-1]):
            yield path


def prose(text: str) -> Iterator[tuple[int, str]]:
    """The lines outside fenced blocks, numbered from 1."""
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        mark = _FENCE.match(line)
        if mark is not None and fence in ("", mark[1]):
            fence = "" if fence else mark[1]
        elif not fence:
            yield number, line


def links(text: str) -> Iterator[tuple[int, str]]:
    """(line, target) of every link and picture."""
    for number, line in prose(text):
        plain = _CODE.sub("", line)
        for found in [*_LINK.finditer(plain), *_REFERENCE.finditer(plain)]:
            yield number, next(group for group in found.groups() if group is not None)


def anchors(text: str) -> set[str]:
    """The anchors of a page: GitHub's names of its headings, and explicit ones."""
    seen: Counter[str] = Counter()
    names = set()
    for _, line in prose(text):
        names.update(_ANCHOR.findall(line))
        heading = _HEADING.match(line)
        if heading is None:
            continue
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        names.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names


def breach(root: Path, page: Path, target: str) -> str | None:
    """Why the link is broken, or None."""
    if _ELSEWHERE.match(target):
        return None
    file, _, anchor = target.partition("#")
    if file.startswith("/"):
        return "begins with '/': links are relative to the page"
    there = (page.parent / unquote(file)).resolve() if file else page
    if not there.is_relative_to(root):
        return "leads out of the repository"
    if not there.exists():
        return "there is no such file"
    if anchor and there.suffix == ".md" and unquote(anchor) not in anchors(there.read_text(encoding="utf-8")):
        return f"{there.relative_to(root)} has no heading '#{anchor}'"
    return None


def breaches(root: Path) -> Iterator[str]:
    """One line for each broken link."""
    root = root.resolve()
    for page in pages(root):
        for line, target in links(page.read_text(encoding="utf-8")):
            why = breach(root, page, target)
            if why is not None:
                yield f"{page.relative_to(root)}:{line}: the link to {target}: {why}"


def main(argv: Sequence[str]) -> int:
    """Print the broken links of the given repository, by default of this one."""
    root = Path(argv[0]) if argv else Path(__file__).parents[1]
    found = list(breaches(root))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
