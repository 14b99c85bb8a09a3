from third_party.sdist import Archive

from ecosystem.suite import Suite

SUITE = Suite(
    name="nats",
    # The source distributions of later releases have no tests.
    source=Archive("nats-py", "2.12.0", "2981ca4b63b8266c855573fa7871b1be741f1889fd429ee657e5ffc0971a38a1"),
    needs=("nats-py==2.12.0", "aiohttp==3.14.5", "trustme==1.2.1"),
    package="nats",
    tests=("tests", "--ignore=tests/test_compatibility.py"),  # a test with another program
    quick=("tests/test_client_v2.py", "tests/test_client_websocket.py"),
    plugins=("ecosystem.support.nats_servers",),
    left_out={
        "ClientNkeysAuthTest|ClientJWTAuthTest": "need keys that the source distribution lacks",
        "AccountLimitsTest": "needs a configuration file that the source distribution lacks",
        "ClientTLSHandshakeFirstTest|V210FeaturesTest|multiple_filters|filter_subjects": "need nats-server 2.10",
    },
    alone=True,
    environment="services",
    probe="over_nats",
)
