import pytest

from project.tests.processes import serving

METRICS_TOKEN = "metrics-0123456789-abcdefghijklmnopqrstuv"


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A server with two workers that tests share; those that stop it, or need other settings, start their own."""
    settings = {"WEB_CONCURRENCY": "2", "USERS_IP_LIMITS": "0", "FLAGS_USAGE_FLUSH_SECONDS": "1", "MCP": "1"}
    settings["METRICS_TOKEN"] = METRICS_TOKEN
    # Of ours: a server that is killed would leave its own behind.
    settings["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path_factory.mktemp("metrics"))
    with serving(tmp_path_factory.mktemp("server"), **settings) as running:
        yield running
