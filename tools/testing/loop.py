"""One asyncio loop in a background thread, for servers that plain synchronous tests talk to.

The thread starts at first use and ends with the process, or at `shutdown()`.
"""

import asyncio
import atexit
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None


class LoopTimeout(Exception):
    """A coroutine did not finish on the background loop in time; it was cancelled."""


def loop() -> asyncio.AbstractEventLoop:
    """Return the background loop, started if need be."""
    global _loop, _thread
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            _thread = threading.Thread(target=_run, args=(_loop,), name="harness-loop", daemon=True)
            _thread.start()
        return _loop


def _run(own: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(own)
    own.run_forever()


def _refuse_own_thread() -> None:
    """Raise RuntimeError on the loop's own thread, where waiting for the loop is a deadlock."""
    if threading.current_thread() is _thread:
        raise RuntimeError("called on the background loop's own thread: await it instead")


def call(coro: Coroutine[Any, Any, T], timeout: float = 30) -> T:
    """Run `coro` on the background loop and return its result, or raise what it raised.

    `timeout` is in seconds. Raises LoopTimeout when it is over (the coroutine is cancelled),
    RuntimeError when called on the background thread itself.
    """
    try:
        _refuse_own_thread()
    except RuntimeError:
        coro.close()
        raise
    name = getattr(coro, "__qualname__", repr(coro))
    future = asyncio.run_coroutine_threadsafe(coro, loop())
    try:
        return future.result(timeout)
    except concurrent.futures.TimeoutError as error:
        # From Python 3.11 this is the built-in TimeoutError, which the coroutine may raise too.
        if future.done() and not future.cancelled():
            raise
        future.cancel()
        raise LoopTimeout(f"{name} did not finish in {timeout} s") from error


def run(function: Callable[..., T], *args: Any, timeout: float = 30) -> T:
    """Call a plain function on the background loop's thread and return its result."""

    async def body() -> T:
        return function(*args)

    return call(body(), timeout)


def shutdown(timeout: float = 5) -> None:
    """Cancel what runs on the loop, stop the thread, close the loop. `call` starts a new one."""
    global _loop, _thread
    _refuse_own_thread()
    with _lock:
        old, thread, _loop, _thread = _loop, _thread, None, None
    if old is None or thread is None:
        return
    ending = asyncio.run_coroutine_threadsafe(_cancel_all(), old)
    concurrent.futures.wait([ending], timeout)
    old.call_soon_threadsafe(old.stop)
    thread.join(timeout)
    if not thread.is_alive():
        old.close()


async def _cancel_all() -> None:
    """Cancel every other task and wait for their ends."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


atexit.register(shutdown)
