"""Processes that train together notice when one of them is lost, and end in one line.

Each counts aloud in the key-value store of JAX's coordination service, which process 0 hosts, and
listens to the others. JAX notices as well, later, and ends the process with a C++ stack.
"""

import atexit
import ctypes
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from input_pipeline.command_errors import AGAIN, INTERRUPTED, TERMINATED, exit_status, give_up

TIMEOUT_SECONDS = 60.0
"""A process that has been silent for this long counts as lost."""

GOES_ON = "the same command goes on"

_PLACE = "sacd_jax/alive"
_LEFT = "left"
_PERIOD_SECONDS = 1.0  # and a 64th of a second more for each process: all listen to all
_SILENT_PERIODS = 5
_LEFT_SECONDS = 20.0  # all leave within moments, or something is wrong
_NOT_MET = "Gloo context initialization failed: DEADLINE_EXCEEDED"  # XLA gives them 30 s
_NO_ANSWER = "the other processes did not answer in time"
_DYING_SECONDS = 5  # a process that was killed still takes calls for a moment


class Store(Protocol):
    """What is used of JAX's `DistributedRuntimeClient`."""

    def key_value_set(self, key: str, value: str, allow_overwrite: bool) -> None: ...
    def key_value_dir_get(self, key: str) -> list[tuple[str, str]]: ...


class Peers:
    """The other processes, heard by one of them."""

    def __init__(
        self,
        store: Store,
        process: int,
        count: int,
        *,
        goes_on: Callable[[], str] = lambda: GOES_ON,
        end: Callable[[str, int], Any] = give_up,
        clock: Callable[[], float] = time.monotonic,
    ):
        """
        Args:
            store: that all processes share.
            process: number of this one.
            count: of the processes.
            goes_on: what is to be done when one is lost.
            end: is told a message and the exit status.
            clock: in seconds.
        """
        self._store, self._process, self.goes_on, self._end = store, process, goes_on, end
        self._period = _PERIOD_SECONDS + count / 64
        self._clock, now = clock, clock()
        self._heard = {other: now for other in range(count) if other != process}
        self._said: dict[int, str] = {}
        self._left: dict[int, tuple[float, int]] = {}  # when, and with which exit status
        self._number = 0
        self._over = threading.Event()

    def start(self) -> None:
        """Begins to speak and listen, and to judge, in two threads: the store may hang."""
        for work in (self._converse, self._watch):
            threading.Thread(target=work, name=f"peers{work.__name__}", daemon=True).start()

    def leave(self, status: int) -> None:
        """Tells the others that this process has ended by itself, with this exit status."""
        if not self._over.is_set():
            self._over.set()
            self._tell(f"{_LEFT} {status}")

    def silent(self, seconds: float) -> list[int]:
        """Those not heard for so long, who have not left; only process 0 if it is silent: nobody is
        heard without it."""
        now = self._clock()
        since = {p: now - at for p, at in self._heard.items() if p not in self._left}
        if since.get(0, 0.0) > _SILENT_PERIODS * self._period:
            since = {0: since[0]}
        return [process for process, silence in since.items() if silence > seconds]

    def loss(self, lost: list[int]) -> str:
        """One line about processes that are lost."""
        ago = min(self._clock() - self._heard[process] for process in lost)
        named = f"process {lost[0]}" if len(lost) == 1 else f"processes {_listed(lost)}"
        were = "was lost, last" if len(lost) == 1 else "were lost, last"
        return f"{named} {were} heard of {ago:.0f} s ago; {self.goes_on()}"

    def blame(self, sleep: Callable[[float], Any] = time.sleep) -> None:
        """Ends this process if another one is to blame for an error in a common computation."""
        silence = (_SILENT_PERIODS + 1) * self._period
        deadline = self._clock() + silence + 2 * self._period
        while self._clock() < deadline and not (self.silent(silence) or self._left):
            sleep(self._period / 4)
        self.judge(silence, 0.0)

    def _tell(self, word: str) -> None:
        try:
            self._store.key_value_set(f"{_PLACE}/{self._process}", word, True)
        except Exception:  # of many kinds; the silence that follows is what counts
            return

    def _converse(self) -> None:
        while not self._over.wait(self._period):
            self.speak()
            self.listen()

    def speak(self) -> None:
        """Says that this process is there."""
        self._number += 1
        self._tell(str(self._number))

    def listen(self) -> None:
        """Notes who has said something new."""
        try:
            words = self._store.key_value_dir_get(_PLACE)
        except Exception:
            return
        now = self._clock()
        for key, word in words:
            other = int(key.rpartition("/")[2])
            if other in self._heard and self._said.get(other) != word:
                self._said[other], self._heard[other] = word, now
                if word.startswith(_LEFT):
                    self._left[other] = now, int(word.split()[1])

    def _watch(self) -> None:
        before = self._clock()
        while not self._over.wait(self._period):
            now = self._clock()
            asleep = now - before - self._period
            if asleep > 2 * self._period:  # this process was stopped, not the others
                self._heard = {other: at + asleep for other, at in self._heard.items()}
            before = now
            self.judge()

    def judge(self, silence: float = TIMEOUT_SECONDS, left_for: float = _LEFT_SECONDS) -> None:
        """Ends this process if another one is lost, or left so long ago."""
        if lost := self.silent(silence):
            self._end(self.loss(lost), AGAIN)
            return
        now = self._clock()
        for other, (at, status) in self._left.items():
            if now - at < left_for or self._over.is_set():
                continue
            if status in (INTERRUPTED, TERMINATED):
                # So was this one, perhaps, but it waits for the other and has not heard.
                self._end(f"process {other} was interrupted; {self.goes_on()}", status)
            else:
                self._end(f"process {other} ended before the others; its own last line says why", 1)
            return


def _listed(numbers: list[int]) -> str:
    most = 8
    return ", ".join(map(str, numbers[:most])) + (" …" if len(numbers) > most else "")


_ours: Peers | None = None


def watch(client: Store, process: int, count: int, address: str) -> None:
    """Watches the other processes of this one until it ends.

    Args:
        client: of JAX's coordination service.
        process: number of this one.
        count: of the processes.
        address: host:port of the service.
    """
    global _ours
    _ours = peers = Peers(client, process, count)
    peers.start()
    atexit.register(lambda: peers.leave(exit_status()))
    hook = sys.excepthook

    def explain(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            if _NOT_MET in str(error):
                give_up(f"{_NO_ANSWER}; {peers.goes_on()}")
            peers.blame()
        hook(kind, error, trace)

    sys.excepthook = explain
    _explain_abort(peers, address if process else None)


def goes_on(how: Callable[[], str]) -> None:
    """Sets what is said to be done when a process is lost."""
    if _ours is not None:
        _ours.goes_on = how


def join() -> None:
    """To be called before the processes look for each other: JAX calls abort() where they do not
    meet."""
    _before_abort(lambda: give_up(f"{_NO_ANSWER}; {GOES_ON}"))


def _explain_abort(peers: Peers, address: str | None) -> None:
    """JAX calls abort() at once when it cannot reach process 0, or this is process 0 (no address)
    and another did not wait to take leave of it; it lets nobody else decide."""

    def look_for_process_0() -> None:
        for _ in range(_DYING_SECONDS if address else 0):
            if not _answers(address):
                give_up(peers.loss([0]))
            time.sleep(1)

    _before_abort(look_for_process_0)


def _before_abort(explain: Callable[[], Any]) -> None:
    def aborted(number: int) -> None:
        if status := exit_status():  # said already; nobody was there to take leave of
            os._exit(status)
        explain()

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(aborted)
    _kept.append(handler)  # called from C, which holds no reference
    ctypes.CDLL(None).signal(signal.SIGABRT, handler)


_kept: list[Any] = []


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError:
        return False
    return True
