from third_party.sdist import Archive

from ecosystem.suite import Suite

SUITE = Suite(
    name="hypercorn",
    source=Archive("hypercorn", "0.18.0", "d63267548939c46b0247dc8e5b45a9947590e35e64ee73a23c074aa3cf88e9da"),
    needs=("hypercorn==0.18.0", "h2==4.3.0", "httpx==0.28.1", "pytest-asyncio==1.5.0", "trio==0.35.0"),
    package="src",
    tests=("tests", "--ignore=tests/trio"),
    quick=("tests/asyncio", "tests/protocol"),
    arguments=("-m", "not trio"),
    plugins=("pytest_asyncio.plugin",),
    left_out={"trio": "trio's loop"},
    environment="services",
    probe="over_hypercorn",
)
