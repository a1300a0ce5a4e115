"""What tests ask for by name: a runtime for device code, a broker, a scripted peer, a proxy.

What cannot be had on this machine is skipped with the reason; in CI (CI=true) it is a failure.
"""

import os
from collections.abc import Iterator

import pytest
from harness import runtimes
from harness.brokers import AmqttBroker, Broker, MosquittoBroker
from harness.chaos import ChaosProxy
from harness.peer import ScriptedPeer


def missing(reason: str) -> None:
    """Skip the test visibly; in CI let it fail."""
    if os.environ.get("CI"):
        pytest.fail(f"nothing may be skipped in CI: {reason}")
    pytest.skip(reason)


def mosquitto_argv() -> list[str]:
    """Return how to start mosquitto; skips the test where it cannot be had."""
    try:
        return runtimes.get.mosquitto()
    except runtimes.NotAvailable as error:
        missing(str(error))
        raise


@pytest.fixture(params=list(runtimes.RUNTIMES.values()), ids=lambda r: r.name)
def runtime(request: pytest.FixtureRequest) -> runtimes.Runtime:
    """Each Python that device code must run on."""
    chosen: runtimes.Runtime = request.param
    if chosen.reason:
        missing(chosen.reason)
    return chosen


@pytest.fixture(params=["amqtt", "mosquitto"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """Each broker, started."""
    if request.param == "amqtt":
        chosen: Broker = AmqttBroker()
    else:
        chosen = MosquittoBroker(mosquitto_argv(), persistence=True)
    with chosen:
        yield chosen


@pytest.fixture
def mosquitto() -> Iterator[MosquittoBroker]:
    """mosquitto alone, for what amqtt does not do."""
    with MosquittoBroker(mosquitto_argv(), persistence=True) as chosen:
        yield chosen


@pytest.fixture
def proxy(broker: Broker) -> Iterator[ChaosProxy]:
    """A proxy in front of the broker."""
    with ChaosProxy(broker.port) as chosen:
        yield chosen


@pytest.fixture
def peer() -> Iterator[ScriptedPeer]:
    """A fake broker that the test plays."""
    with ScriptedPeer() as chosen:
        yield chosen
