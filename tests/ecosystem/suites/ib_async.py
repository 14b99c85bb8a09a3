from third_party.sdist import Archive

from ecosystem.suite import Suite

SUITE = Suite(
    name="ib_async",
    # The source distribution has no tests, and most of the project's tests need an account.
    source=Archive("ib_async", "2.1.0", "6a03a87d6c06acacb0217a5bea60a8a168ecd5b5a7e86e1c73678d5b48cbc796"),
    needs=("ib_async==2.1.0", "nest_asyncio==1.6.0"),
    package="ib_async",
    programs="trading_with_ib_async.py",
    quick=("all of it",),
    environment="distributed",
    probe="over_ib_async",
)
