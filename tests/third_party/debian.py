"""Debian's source packages, downloaded by apt with a list of sources of its own."""

from __future__ import annotations

from pathlib import Path

#: A stable release, because the archive keeps its source packages for years.
RELEASE = "trixie"
# The caller checks the file's hash, so the keys of this release need not be installed.
_SOURCES = f"deb-src [trusted=yes] http://deb.debian.org/debian {RELEASE} main\n"
_FETCH = "apt-get $0 update -qq && exec apt-get $0 source --download-only --tar-only -qq $1"


def download(package: str, directory: Path) -> list[str]:
    """The command that downloads a source package's upstream archive into a directory. Nothing of the machine's apt
    changes."""
    settings = directory / "apt"
    (settings / "lists/partial").mkdir(parents=True)
    (settings / "sources.list").write_text(_SOURCES)
    (settings / "apt.conf").write_text(
        f"""Dir::Etc::sourcelist "{settings / "sources.list"}";
Dir::Etc::sourceparts "-";
Dir::State::lists "{settings / "lists"}";
Dir::Cache "{settings}";
APT::Sandbox::User "";
"""
    )
    return ["sh", "-c", _FETCH, f"--config-file={settings / 'apt.conf'}", package]
