from third_party.sdist import Archive

from ecosystem.suite import Suite

SUITE = Suite(
    name="ipykernel",
    source=Archive("ipykernel", "7.4.0", "4330114d22b9b33575b2c7c68753fc8faabbbcfbc60b0cdff9f14dd4ce63742f"),
    needs=(
        "ipykernel==7.4.0",
        "flaky==3.8.1",
        "ipyparallel==9.2.0",
        "jupyter_client==8.10.0",
        "pytest-asyncio==1.5.0",
        "pytest-cov==7.1.0",
        "tornado==6.6.1",
        "trio==0.35.0",
    ),
    package="ipykernel",
    arguments=("-o", "asyncio_default_fixture_loop_scope=function"),
    plugins=(
        "flaky.flaky_pytest_plugin",
        "pytest_asyncio.plugin",
        "pytest_cov.plugin",
        "ecosystem.support.loop_in_children",
    ),
    through="Tornado and PyZMQ",
    environment="jupyter",
)
