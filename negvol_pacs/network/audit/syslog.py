"""Audit messages to a syslog server: RFC 5424 over TLS (RFC 5425) or UDP (RFC 5426), PS3.15 sections A.6 and A.7.

A thread of its own does the talking; whoever has something to tell puts it into a bounded queue
and goes on. What does not fit is counted.
"""

import contextlib
import errno
import os
import queue
import select
import socket
import threading
from collections.abc import Callable
from datetime import datetime

import structlog

from negvol_pacs.config import Syslog
from negvol_pacs.errors import ConfigError
from negvol_pacs.network.tls import ClientContext, explain, peer_context

_PRIORITY = 10 * 8 + 5
"""Facility 10 (security), severity 5 (notice)."""
_BOM = b"\xef\xbb\xbf"
_FIRST_RETRY_S, _LONGEST_RETRY_S = 1.0, 60.0

_log = structlog.get_logger()


def frame(message: bytes) -> bytes:
    """Return an audit message as a syslog message (RFC 5424 section 6)."""
    now = datetime.now().astimezone().isoformat(timespec="milliseconds")
    header = f"<{_PRIORITY}>1 {now} {socket.gethostname()} negvol-pacs {os.getpid()} DICOM+RFC3881 - "
    return header.encode() + _BOM + message


class SyslogClient:
    """The way to one server.

    Parameters
    ----------
    server
        Address, patience and, for TLS, certificates.
    on_gap
        Called from the client's thread with the number of messages lost, when that is first known
        (0: the queue is full) and when the server takes messages again.
    """

    def __init__(self, server: Syslog, on_gap: Callable[[int], None]) -> None:
        self._server, self._on_gap = server, on_gap
        self._queue: queue.Queue[bytes] = queue.Queue(server.queue)
        self._lost = 0
        self._told = False
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="syslog", daemon=True)
        self._thread.start()

    def put(self, message: bytes) -> None:
        """Take a message; never waits."""
        try:
            self._queue.put_nowait(frame(message))
        except queue.Full:
            with self._lock:
                self._lost += 1
                first, self._told = not self._told, True
            if first:
                self._on_gap(0)

    def close(self, grace_s: float) -> int:
        """Send what waits for up to ``grace_s`` seconds; return how many messages are lost."""
        self._stop.set()
        self._thread.join(grace_s)
        return self._lost + self._queue.qsize()

    def _run(self) -> None:
        delay_s = _FIRST_RETRY_S
        waiting: bytes | None = None
        while not (self._stop.is_set() and waiting is None and self._queue.empty()):
            if waiting is None:
                try:
                    waiting = self._queue.get(timeout=0.5)
                except queue.Empty:
                    continue
            try:
                self._send(waiting)
            except (OSError, ConfigError) as error:
                self._drop()
                if getattr(error, "errno", None) == errno.EMSGSIZE:  # no datagram is that long, and none will be
                    waiting = None
                    with self._lock:
                        self._lost += 1
                    continue
                reason = explain(error) if isinstance(error, OSError) else str(error)
                _log.warning("syslog-unreachable", host=self._server.host, reason=reason, retry_in_s=delay_s)
                if self._stop.wait(delay_s):
                    return
                delay_s = min(2 * delay_s, _LONGEST_RETRY_S)
                continue
            waiting, delay_s = None, _FIRST_RETRY_S
            self._tell_gap()
        self._drop()

    def _tell_gap(self) -> None:
        with self._lock:
            lost, self._lost, self._told = self._lost, 0, False
        if lost:
            self._on_gap(lost)

    def _send(self, message: bytes) -> None:
        if self._socket is not None and self._server.tls is not None and _ended(self._socket):
            self._drop()
        if self._socket is None:
            self._socket = self._connect()
        data = message if self._server.tls is None else b"%d %s" % (len(message), message)
        self._socket.sendall(data)

    def _connect(self) -> socket.socket:
        server = self._server
        if server.tls is None:
            family, kind, protocol, _, address = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)[0]
            plain = socket.socket(family, kind, protocol)
            plain.connect(address)
            return plain
        context: ClientContext = peer_context(server.tls)
        connection = socket.create_connection((server.host, server.port), timeout=server.timeout_s)
        try:
            return context.wrap_socket(connection, server_hostname=server.host)
        except BaseException:
            connection.close()
            raise

    def _drop(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None


def _ended(connection: socket.socket) -> bool:
    """Whether the server has closed: it never says anything, and a first write would not fail."""
    if not select.select([connection], [], [], 0)[0]:
        return False
    patience = connection.gettimeout()
    connection.settimeout(0)
    try:
        return not connection.recv(1)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError as error:
        return type(error).__name__ != "SSLWantReadError"
    finally:
        connection.settimeout(patience)
