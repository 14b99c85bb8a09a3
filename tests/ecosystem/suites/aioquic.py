from third_party.sdist import Archive

from ecosystem.suite import Suite

SUITE = Suite(
    name="aioquic",
    source=Archive("aioquic", "1.7.2", "4def7cb0a692dc12c995cc397a93f41b78cc30b7bf078769c3a3bb1ba9dcf362"),
    needs=("aioquic==1.7.2", "trustme==1.2.1"),
    package="src",
    quick=("tests/test_asyncio.py",),
    environment="services",
    probe="over_aioquic",
)
