from third_party.sdist import Archive

from ecosystem.suite import Suite

SUITE = Suite(
    name="distributed",
    # The source distribution has no tests.
    source=Archive("distributed", "2026.8.0", "6f55008ecacf96ba945309fc12e680544764995e27bd63cc5e109afb97d7044d"),
    needs=("distributed==2026.8.0", "dask==2026.8.0", "tornado==6.6.1"),
    package="distributed",
    programs="computing_with_distributed.py",
    plugins=("ecosystem.support.loop_in_children",),
    through="Tornado",
    environment="distributed",
)
