"""The pytest plugin of dormouse: a simulated board, a broker, an observer and a proxy as fixtures.

A package from a wheel brings it (entry point pytest11); docs/testing.md tells how it is used. What
it needs is imported when a fixture asks for it: a run without these tests pays nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .board import Board
    from .brokers import Broker
    from .chaos import ChaosProxy
    from .observer import Observer
    from .runtimes import Runtime

RUNTIMES = ("micropython32", "micropython64", "cpython")
BROKERS = ("mosquitto", "amqtt")
MARKER = (
    "board(main=None, files=None, args=(), **config): what the fixture `board` is made of: the "
    'program, files on its flash, and keys of board.json, such as type="rp2"'
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options, on the command line and in pyproject.toml."""
    group = parser.getgroup("dormouse", "dormouse: a node on a simulated board")
    group.addoption(
        "--dormouse-runtime",
        metavar="NAME",
        help=f"what device programs run on: {', '.join(RUNTIMES)}, several with commas, or all",
    )
    group.addoption("--dormouse-broker", metavar="NAME", help=f"{' or '.join(BROKERS)}, or all")
    parser.addini("dormouse_main", "the program on the board, from the rootdir", default="main.py")
    parser.addini("dormouse_runtime", "as --dormouse-runtime", default="micropython32")
    parser.addini("dormouse_broker", "as --dormouse-broker; else what is there", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", MARKER)


def _chosen(config: pytest.Config, what: str, known: tuple[str, ...]) -> list[str]:
    text = config.getoption(f"--dormouse-{what}") or config.getini(f"dormouse_{what}")
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["all"]:
        return list(known)
    for name in names:
        if name not in known:
            raise pytest.UsageError(
                f"dormouse: no {what} {name!r}: one of {', '.join(known)}, or all"
            )
    return names


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test once on each runtime, and with each broker, that was chosen."""
    for what, known in (("runtime", RUNTIMES), ("broker", BROKERS)):
        name = f"_dormouse_{what}"
        if name in metafunc.fixturenames:
            names = _chosen(metafunc.config, what, known) or [""]
            # One that is not said leaves the test its name.
            ids = None if len(names) > 1 else [pytest.HIDDEN_PARAM] if _can_hide() else None
            metafunc.parametrize(name, names, ids=ids, indirect=True)


def _can_hide() -> bool:
    return hasattr(pytest, "HIDDEN_PARAM")  # pytest 8.4 and later


@pytest.fixture
def _dormouse_runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def _dormouse_broker(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _part(name: str) -> Any:
    """Import a module beside this one; say what is missing if it cannot be."""
    try:
        return importlib.import_module(f".{name}", __package__)
    except ModuleNotFoundError as error:
        raise pytest.UsageError(
            f"dormouse's fixtures need {error.name}\nWhat to do: pip install 'dormouse-mqtt[test]'"
        ) from error


@pytest.fixture
def runtime(_dormouse_runtime: str) -> Runtime:
    """The Python that the board runs: MicroPython with objects of 32 bits, as on the chip.

    What is not on this machine is fetched into the user's cache folder, once; where that cannot be
    done the test is skipped with the reason, and fails in CI (CI=true).
    """
    runtimes, needs = _part("runtimes"), _part("needs")
    chosen: Runtime = runtimes.RUNTIMES[_dormouse_runtime]
    if chosen.reason:
        needs.missing(chosen.reason)
    return chosen


@pytest.fixture
def make_board(
    runtime: Runtime, tmp_path: Path, pytestconfig: pytest.Config
) -> Iterator[Callable[..., Board]]:
    """Return a function that makes a board, for a test with several; arguments as the marker's."""
    kind = _part("board").Board
    with ExitStack() as stack:
        made = 0

        def make(
            main: str | Path | None = None,
            files: dict[str, Any] | None = None,
            args: tuple[str, ...] = (),
            **config: Any,
        ) -> Board:
            nonlocal made
            made += 1
            path = pytestconfig.rootpath / (main or pytestconfig.getini("dormouse_main"))
            if not path.is_file():
                raise pytest.UsageError(
                    f"{path}: no such program for the board\nWhat to do: dormouse_main in "
                    "pyproject.toml, or @pytest.mark.board(main=...)"
                )
            folder = tmp_path / (f"board{made}" if made > 1 else "board")
            board: Board = stack.enter_context(kind(runtime, folder, path, files, args, **config))
            return board

        yield make


@pytest.fixture
def board(request: pytest.FixtureRequest, make_board: Callable[..., Board]) -> Board:
    """A simulated board with your program, off at first; what still runs at the end is ended."""
    marker = request.node.get_closest_marker("board")
    return make_board(*marker.args, **marker.kwargs) if marker else make_board()


@pytest.fixture
def broker(_dormouse_broker: str) -> Iterator[Broker]:
    """A broker on a free port of this machine: mosquitto where it can be had, else amqtt.

    It takes ``broker.username`` and ``broker.password``, if these are not None. stop(), start() and
    restart() are outages, over which mosquitto keeps sessions; amqtt forgets them, and what it sent
    and nobody acknowledged (``broker.behaviour`` tells all that is known of each).
    """
    brokers, runtimes = _part("brokers"), _part("runtimes")
    try:
        argv = [] if _dormouse_broker == "amqtt" else runtimes.get.mosquitto()
    except runtimes.NotAvailable as error:
        if _dormouse_broker:
            _part("needs").missing(str(error))
        argv = []
    chosen: Broker = brokers.MosquittoBroker(argv) if argv else brokers.AmqttBroker()
    with chosen:
        yield chosen


@pytest.fixture
def observer(broker: Broker) -> Iterator[Observer]:
    """Another client of the broker, not dormouse's (paho): it sees all topics at QoS 2, and
    publishes."""
    with _part("observer").Observer(broker, ("#", 2)) as chosen:
        yield chosen


@pytest.fixture
def proxy(broker: Broker) -> Iterator[ChaosProxy]:
    """What stands between the node and the broker, counts, delays and cuts: at ``proxy.port``."""
    with _part("chaos").ChaosProxy(broker.entry) as chosen:
        yield chosen
