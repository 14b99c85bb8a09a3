from third_party.sdist import Archive

from ecosystem.services.postgresql import programs_for_tests
from ecosystem.suite import Suite

SUITE = Suite(
    name="asyncpg",
    source=Archive("asyncpg", "0.32.0", "45e64e56714d888330b884aad1dfb363d0bf43fb343e3d1a8968525f3bade478"),
    needs=("asyncpg==0.32.0", "distro==1.9.0"),
    package="asyncpg",
    quick=("tests/test_execute.py", "tests/test_cursor.py"),
    arguments=("--import-mode=importlib",),
    environment="services",
    service=programs_for_tests,
    probe="over_asyncpg",
)
