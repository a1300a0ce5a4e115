"""What tests ask for by name: a runtime for device code, a broker, a scripted peer, a proxy.

What cannot be had on this machine is skipped with the reason; in CI (CI=true) it is a failure.
"""

import compileall
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tools.testing import runtimes
from tools.testing.brokers import BROKERS, AmqttBroker, Broker, MosquittoBroker
from tools.testing.certs import certificates
from tools.testing.chaos import ChaosProxy
from tools.testing.needs import missing, mosquitto_argv
from tools.testing.peer import ScriptedPeer


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take an option for the tests that try only some bytes."""
    parser.addoption("--every-byte", action="store_true", help="cut an update at every byte")


PROGRAMS = ("scenarios", "field")  # folders of device programs
PURE = ("unit", "model")  # folders of tests that are decided by bytes: none of them needs luck


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to `make prove` (`-m prove`) what differs in the runtime only, where the 32-bit
    MicroPython shows it in `make test`: device programs on the 64-bit one, tests marked `once` on
    CPython too.

    In CI, what fails beside real processes is tried a second time, and pytest lists it as RERUN: of
    thousands of those on a machine that others use too, one may be held up for a minute. Each such
    line is a fault, of the test or of the product, to be mended as if it were red. What is PURE has
    no such excuse; neither has anything on a desk.
    """
    for item in items:
        if os.environ.get("CI") and item.path.parent.name not in PURE:
            item.add_marker(pytest.mark.flaky(reruns=1))
        chosen = getattr(item, "callspec", None) and item.callspec.params.get("runtime")
        once = item.get_closest_marker("once")
        others = {runtimes.MICROPYTHON64} if once or item.path.parent.name in PROGRAMS else set()
        others |= {runtimes.CPYTHON} if once else set()
        if chosen in others and not runtimes.MICROPYTHON32.reason:
            item.add_marker(pytest.mark.prove)


def pytest_configure(config: pytest.Config) -> None:
    """Let programs under test see Ctrl-C: `make test &` in a script starts all that ignore it. And
    tell why a test had to be tried twice."""
    if hasattr(config.option, "rerun_show_tracebacks"):
        config.option.rerun_show_tracebacks = True
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Device programs and tools start by the thousand, and write no bytecode themselves.
    if "PYTEST_XDIST_WORKER" not in os.environ:
        for folder in ("firmware", "boards/unix", "tools"):
            compileall.compile_dir(runtimes.ROOT / folder, quiet=2)


def functions() -> dict[tuple[str, str], object]:
    """Return what can be called in each module of the library that this process has loaded."""
    return {
        (module.__name__, name): value
        for module in list(sys.modules.values())
        if getattr(module, "__name__", "").startswith("dormouse.")
        for name, value in vars(module).items()
        if callable(value)
    }


@pytest.fixture(autouse=True, scope="module")
def library_is_left_alone() -> Iterator[None]:
    """What a test puts into the library, it takes out again: other tests of this process use it."""
    before = functions()
    yield
    after = functions()
    changed = [".".join(at) for at, f in before.items() if at in after and after[at] is not f]
    assert not changed, f"left in the library: {', '.join(changed)}"


@pytest.fixture(params=list(runtimes.RUNTIMES.values()), ids=lambda r: r.name)
def runtime(request: pytest.FixtureRequest) -> runtimes.Runtime:
    """Each Python that device code must run on."""
    chosen: runtimes.Runtime = request.param
    if chosen.reason:
        missing(chosen.reason)
    return chosen


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """Each broker, started; ``version`` is what the device is to speak, ``transport`` over what."""
    name, _, transport = request.param.partition(" over ")
    if name == "amqtt":
        chosen: Broker = AmqttBroker(websocket=transport == "ws")
    else:
        chosen = MosquittoBroker(
            mosquitto_argv(),
            persistence=True,
            websocket=transport in ("ws", "wss"),
            tls=certificates() if transport == "wss" else None,
        )
    chosen.version = BROKERS[name]
    chosen.transport = transport or "tcp"
    with chosen:
        yield chosen


@pytest.fixture
def mosquitto() -> Iterator[Callable[..., MosquittoBroker]]:
    """Return a function that starts a mosquitto, for what amqtt does not do; MosquittoBroker's
    options."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(MosquittoBroker(mosquitto_argv(), **options))


@pytest.fixture
def proxy(broker: Broker) -> Iterator[ChaosProxy]:
    """A proxy in front of the broker."""
    with ChaosProxy(broker.entry) as chosen:
        yield chosen


@pytest.fixture
def peer() -> Iterator[ScriptedPeer]:
    """A fake broker that the test plays."""
    with ScriptedPeer() as chosen:
        yield chosen
