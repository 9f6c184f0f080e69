"""The tiny network, its server in this process, and its server on a port."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from served import LIMITS, listening, strict, write_bundle
from starlette.testclient import TestClient

from skipway import hardware
from skipway.deploy.serve.app import create_app
from skipway.deploy.serve.backend import BundleBackend, ModelBackend
from skipway.deploy.serve.limits import Limits
from skipway.deploy.serve.metrics import Metrics
from skipway.deploy.serve.service import Service

ClientOf = Callable[..., TestClient]


@pytest.fixture(scope="session")
def fruit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "fruit")


@pytest.fixture(scope="session")
def answerer(fruit: Path) -> BundleBackend:
    return BundleBackend(fruit, hardware.decide("cpu"), "eager", lambda line: None)


@pytest.fixture(scope="session")
def client_of(answerer: BundleBackend) -> ClientOf:
    """client_of(limits, key, answerer): a client of an application in this process, to be used as a context."""

    def make(limits: Limits = LIMITS, key: str = "", answerer: ModelBackend = answerer) -> TestClient:
        return TestClient(create_app(Service(answerer, limits, Metrics()), key), raise_server_exceptions=False)

    return make


@pytest.fixture(scope="module")
def client(client_of: ClientOf) -> Iterator[TestClient]:
    with client_of() as opened:
        yield opened


@pytest.fixture(scope="module")
def patient(client_of: ClientOf) -> Iterator[TestClient]:
    """As `client`, with all the time that decoding processes need to start on a busy machine."""
    with client_of(strict(latency=120.0, answer_seconds=120.0)) as opened:
        yield opened


@pytest.fixture(scope="module")
def live(fruit: Path) -> Iterator[str]:
    """The address of a server of `fruit` with LIMITS."""
    with listening(fruit) as address:
        yield address
