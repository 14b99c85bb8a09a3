from third_party.sdist import Archive

from ecosystem.suite import Suite

SUITE = Suite(
    name="starlette",
    source=Archive("starlette", "1.10.0", "b8399098d4c1e3522734f7235dc79b1fc967f96cf139c81e0fa30479e0685f9b"),
    needs=(
        "starlette[full]==1.10.0",
        "blockbuster==1.5.29",
        "httpx2[zstd]==2.16.2",
        "importlib-metadata==10.2.0",
        "opentelemetry-sdk==1.45.2",
        "trio==0.35.0",
    ),
    package="starlette",
    quick=("tests/test_websockets.py", "tests/test_applications.py"),
    plugins=("anyio.pytest_plugin",),
    left_out={r"\btrio\b": "other loops", "test_staticfiles_with_invalid_dir_permissions": "fails for root"},
    through="anyio",
)
