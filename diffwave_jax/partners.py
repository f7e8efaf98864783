"""Noticing at once that another process of a run has ended, by a connection of each process to the first one.

JAX notices it late (100 s and more) and then ends the process from inside with SIGABRT and pages of native log. Here a
partner's end closes its connection, a silent one is given up after a time limit, and all who are left end with one line
that names it. A connection carries numbers of four bytes: a sign of life each second, `DONE` where the run ended well,
and from the first process the number of a partner that is gone. The first number on each, from the first process, is
the port of JAX's own coordinator, told once all are there: JAX would end a process that waits for another in vain.
"""

import contextlib
import ctypes
import faulthandler
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable

from diffwave_jax.errors import UserError, printable

ALIVE, DONE = -1, -2
LARGEST_PROCESS = 1023  # numbers above are ports
BEAT_SECONDS = 1.0
GREETING_SECONDS = 2.0  # in which a partner that has called says who it is
NUMBER = struct.Struct("!i")
HELLO = struct.Struct("!12si")  # a greeting, which strangers do not know, and who calls
GREETING = b"diffwave_jax"
AGAIN = "start all of them again, they continue from the last checkpoint"


class Partners:
    """Meets the other processes and watches them until `done`; if one is gone, ends this process with status 2.

    Args:
      address: HOST:PORT where the first process is to be met.
      process: this one's number.
      count: of processes.
      timeout: seconds to wait for the others, and of silence after which one counts as gone.

    Attributes:
      coordinator: HOST:PORT for JAX's own coordinator.

    Raises:
      UserError: another process did not come.
    """

    def __init__(self, address: str, process: int, count: int, timeout: float):
        host, _, port = address.rpartition(":")
        self._process, self._timeout = process, timeout
        self._finished = threading.Event()
        self._losing = threading.Lock()
        self._links: dict[int, socket.socket] = {}
        try:
            found = self._await(int(port), count) if process == 0 else self._call(host.strip("[]"), int(port))
        except BaseException:
            self._close()
            raise
        self.coordinator = f"{host}:{found}"
        for partner, link in self._links.items():
            threading.Thread(target=self._listen, args=(partner, link), daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    def done(self) -> None:
        """The run has ended well: from now on partners may go."""
        self._finished.set()
        self._tell(DONE)

    def _await(self, port: int, count: int) -> int:
        """Waits for all others; returns the port for JAX, which all are told."""
        deadline = time.monotonic() + self._timeout
        with _server(port) as server:
            while len(self._links) < count - 1:
                server.settimeout(max(deadline - time.monotonic(), 0.001))
                try:
                    link, _ = server.accept()
                except TimeoutError as error:
                    missing = min(set(range(1, count)) - self._links.keys())
                    self._tell(missing)
                    raise UserError(self._did_not_come(missing)) from error
                self._greet(link)
        with _server(0) as free:
            coordinator_port = free.getsockname()[1]
        self._tell(coordinator_port)
        return coordinator_port

    def _greet(self, link: socket.socket) -> None:
        """Keeps the connection if it is a partner's; whoever else calls, and may say nothing, is soon left."""
        link.settimeout(min(GREETING_SECONDS, self._timeout))
        said = None
        with contextlib.suppress(OSError):
            said = _read(link, HELLO.size)
        greeting, partner = HELLO.unpack(said or bytes(HELLO.size))
        if greeting == GREETING:
            link.settimeout(self._timeout)
            self._links[partner] = link
        else:
            link.close()

    def _call(self, host: str, port: int) -> int:
        """Calls the first process until it answers; returns the port for JAX once all are there."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                link = socket.create_connection((host, port), timeout=self._timeout)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise UserError(self._did_not_come(0, f" to {host}:{port}")) from error
                time.sleep(0.2)
        self._links[0] = link
        link.settimeout(2 * self._timeout)  # the first process may have begun to wait later
        link.sendall(HELLO.pack(GREETING, self._process))
        said = _read(link, NUMBER.size)
        link.settimeout(self._timeout)
        number = 0 if said is None else NUMBER.unpack(said)[0]
        if number <= LARGEST_PROCESS:
            raise UserError(self._did_not_come(number))
        return number

    def _close(self) -> None:
        for link in self._links.values():
            link.close()

    def _did_not_come(self, partner: int, where: str = "") -> str:
        return (
            f"process {partner} of the run did not come{where} within {self._timeout:g} s: was every process started?"
        )

    def _listen(self, partner: int, link: socket.socket) -> None:
        while True:
            try:
                said = _read(link, NUMBER.size)
            except OSError:  # among them that nothing came in time
                said = None
            number = partner if said is None else NUMBER.unpack(said)[0]
            if number == DONE:
                return
            if number != ALIVE:
                self._lost(number)

    def _lost(self, partner: int) -> None:
        """Ends this process, unless the run has ended; every thread but the first waits until it has."""
        self._losing.acquire()
        if self._finished.is_set():
            self._losing.release()
            sys.exit()  # the thread
        self._tell(partner)
        leave(f"process {partner} of the run has ended, or gave no sign of life for {self._timeout:g} s: {AGAIN}")

    def _beat(self) -> None:
        while not self._finished.wait(BEAT_SECONDS):
            self._tell(ALIVE)

    def _tell(self, number: int) -> None:
        for link in self._links.values():
            with contextlib.suppress(OSError):  # who listens to that link finds out
                link.sendall(NUMBER.pack(number))


def _server(port: int) -> socket.socket:
    """A socket that listens on all addresses; on a free port for 0."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _read(link: socket.socket, size: int) -> bytes | None:
    """So many bytes; None where the other end has closed the connection."""
    data = b""
    while len(data) < size:
        part = link.recv(size - len(data))
        if not part:
            return None
        data += part
    return data


def leave(line: object) -> None:
    """Ends the process with one line and status 2, without the farewell to partners that JAX would wait for."""
    print(f"error: {printable(line)}", file=sys.stderr, flush=True)
    leave_with(2)


def leave_with(status: int) -> None:
    """Ends the process at once with this status."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # a closed pipe
            stream.flush()
    os._exit(status)


def hold_native_errors() -> Callable[[], None]:
    """Delays by a second what native code writes to standard error, and its SIGABRT by six, so that `leave` is first.

    Python's own `sys.stderr` is not delayed.

    Returns:
      What ends the delay, and shows what was held back.
    """
    # sleep(SIGABRT) is the handler: no code of Python's runs in the thread that aborts, which dies six seconds later.
    real, (source, sink) = os.dup(2), os.pipe()
    if sys.stderr.fileno() == 2:
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    if faulthandler.is_enabled():
        faulthandler.enable(real)
    libc = ctypes.CDLL(None)
    libc.signal(signal.SIGABRT, libc.sleep)
    os.dup2(sink, 2)
    os.close(sink)
    forwarder = threading.Thread(target=_forward, args=(source, real), daemon=True)
    forwarder.start()

    def end() -> None:
        os.dup2(real, 2)
        forwarder.join(2 * BEAT_SECONDS)

    return end


def _forward(source: int, target: int) -> None:
    while data := os.read(source, 1 << 16):
        time.sleep(BEAT_SECONDS)
        os.write(target, data)
