"""The compiled programs of the bench, and hand-made results."""

from __future__ import annotations

import pytest

from sfloop.bench import build


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> build.Programs:
    """The C programs, compiled from their sources with warnings as errors."""
    patch = pytest.MonkeyPatch()
    with patch.context() as context:
        context.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        context.setattr(build, "FLAGS", (*build.FLAGS, "-Werror"))
        return build.programs()
