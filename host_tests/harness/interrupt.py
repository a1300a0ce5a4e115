"""Ctrl-C for a process of MicroPython's unix port, at a moment at which it can take it.

The unix port raises KeyboardInterrupt out of its signal handler (MICROPY_ASYNC_KBD_INTR), in the
middle of anything: in the middle of an allocation the heap stays locked for ever, and in a
collection that waits for another thread it crashes. No chip does so. So it is interrupted while
its main thread waits in the kernel, where the interpreter is between two things.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import time
from pathlib import Path

COMPUTES = 1  # s after which Ctrl-C no longer waits for a program that does not
LOOKS = 100  # and as many looks, for this process may have been held up itself
# The system calls in which a program waits for time, its terminal or the network, by the class of
# the ELF file (elf(5): 1 is 32 bits). Those by which the allocator waits for threads are not here.
WAITS = {
    1: "0 3 4 82 142 162 168 256 267 308 309 319 362 364 371 407 413 414",  # i386
    2: "0 1 7 23 35 42 43 44 45 219 230 232 270 271 281 288",  # x86-64
}


def _stopped(pid: int) -> bool:
    """Wait until a process that was told to stop has done so; return False if it is gone."""
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        if state in "TtZX":
            return state in "Tt"
        time.sleep(0.0001)


def _waits(pid: int) -> bool:
    """Return whether the main thread of a stopped process is in a system call of WAITS.

    Its number is the first word of /proc/PID/syscall (proc(5)): -1 if it is in none.
    """
    try:
        number = Path(f"/proc/{pid}/syscall").read_text().split()[0]
    except OSError:  # a kernel without it
        return True
    if platform.machine() != "x86_64":
        return number != "-1"
    with open(f"/proc/{pid}/exe", "rb") as program:
        return number in WAITS[program.read(5)[4]].split()


def interrupt_if_waiting(pid: int) -> bool:
    """Interrupt a child process if it waits; return whether it was interrupted, or is gone.

    It is stopped meanwhile: who only looks, and sends then, may come when it waits no more.
    """
    os.kill(pid, signal.SIGSTOP)
    if not _stopped(pid):
        return True
    waits = _waits(pid)
    if waits:  # tgkill(2): of a process that is stopped, any thread might take the signal
        ctypes.CDLL(None).tgkill(pid, pid, signal.SIGINT)
    os.kill(pid, signal.SIGCONT)
    return waits


class Pending:
    """A Ctrl-C that is on its way to a child process: it goes as soon as that waits, or after
    COMPUTES seconds anyway."""

    def __init__(self, pid: int):
        self.pid = pid
        self._end, self._looks = time.monotonic() + COMPUTES, 0

    def sent(self) -> bool:
        """Send it if it can be; return whether it was sent, or nobody is there."""
        self._looks += 1
        if interrupt_if_waiting(self.pid):
            return True
        if time.monotonic() < self._end or self._looks < LOOKS:
            return False
        os.kill(self.pid, signal.SIGINT)
        return True


def interrupt(pid: int) -> None:
    """Interrupt a child process as soon as it can take it."""
    pending = Pending(pid)
    while not pending.sent():
        time.sleep(0.001)
