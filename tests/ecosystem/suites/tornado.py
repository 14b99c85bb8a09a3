from third_party.sdist import Archive

from ecosystem.suite import Suite

SUITE = Suite(
    name="tornado",
    source=Archive("tornado", "6.6.1", "28e6311402af59c8b02e3fa0f5e7d8eb465b25081381803b127d97e6a4395d5a"),
    needs=("tornado==6.6.1",),
    package="tornado",
    keeps_package=True,  # the tests are in it
    tests=("tornado/test",),
    quick=("tornado/test/ioloop_test.py", "tornado/test/iostream_test.py", "tornado/test/tcpserver_test.py"),
    arguments=("-o", "python_files=*_test.py"),
    plugins=("ecosystem.support.tornado_logging",),
    environment="services",
    probe="over_tornado",
)
