from third_party.sdist import Archive

from ecosystem.suite import Suite

SUITE = Suite(
    name="jupyter_client",
    source=Archive("jupyter_client", "8.10.0", "9f7116294dca55f1785be880057d44544db9b1567718d92cb33c58886afb9497"),
    needs=(
        "jupyter_client==8.10.0",
        "ipykernel==7.4.0",
        "msgpack==1.2.4",
        "pytest-jupyter==0.11.0",
        "tornado==6.6.1",
    ),
    package="jupyter_client",
    plugins=("ecosystem.support.loop_in_children",),  # for the kernels
    through="Tornado and PyZMQ",
    environment="jupyter",
)
