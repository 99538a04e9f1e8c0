"""What pynetdicom 3.0.4 lacks against hostile peers: bounds on size, time and connections.

Stock pynetdicom reads as many bytes as a PDU declares (up to 4 GiB) before it looks at anything,
waits for each byte for ever, and lets a silent connection count as an association. The classes
here stand in for its socket, server and request handler; nothing of it is patched.
"""

import contextlib
import errno
import socket
import socketserver
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.fsm import InvalidEventError, StateMachine
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from negvol_pacs.config import Limits
from negvol_pacs.network.tls import Secured, explain

_ASSOCIATE_RQ, _ASSOCIATE_AC, _P_DATA = 0x01, 0x02, 0x04
_KNOWN = range(0x01, 0x08)
_MAX_ASSOCIATE = 256 << 10
"""128 presentation contexts of 25 transfer syntaxes and every extended negotiation fit twice."""
_MAX_OTHER = 1 << 10
_INVALID_HEADER = b"\xff\0\0\0\0\0"
_WAITING_FOR_REQUEST = ("Sta1", "Sta2")

_log = structlog.get_logger()


class GuardedSocket(AssociationSocket):  # type: ignore[misc]
    """A connection on which every PDU has a size cap and a deadline.

    A PDU that breaks a bound condemns the connection: it is answered with A-ABORT where that is
    possible, and nothing more is read from it.

    Parameters
    ----------
    plain
        pynetdicom's socket of the association, whose place this one takes.
    limits
        The bounds.
    """

    def __init__(self, plain: AssociationSocket, limits: Limits) -> None:
        self.__dict__.update(vars(plain))  # no super().__init__: it would announce the connection twice
        self._limits = limits
        self._deadline = 0.0
        self._in_body = False
        self._condemned = False
        self._ahead = b""
        self.failure = ""
        """Why the connection was condemned."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def ready(self) -> bool:
        """Whether there is something to read that is worth reading."""
        if self._condemned or not (self._ahead or super().ready):
            return False
        return bool(self._ahead) or not isinstance(self.socket, ssl.SSLSocket) or self._has_content(self.socket)

    def _has_content(self, connection: ssl.SSLSocket) -> bool:
        """Whether TLS has bytes for us: a session ticket is readable, too, and a read would wait for more."""
        connection.settimeout(0)
        try:
            self._ahead = connection.recv(1)
        except ssl.SSLWantReadError:
            return False
        except OSError as error:
            self.failure = explain(error)  # told once; the read that follows just ends
        return True

    def recv(self, nr_bytes: int) -> bytearray:
        """Read a PDU's header (its first six bytes), then its body: the two calls of the DUL."""
        if self._in_body:
            self._in_body = False
            return self._read(nr_bytes)
        waiting = self.assoc.dul.state_machine.current_state in _WAITING_FOR_REQUEST
        patience = self._limits.association_timeout_s if waiting else self._limits.network_timeout_s
        self._deadline = time.monotonic() + patience
        header = self._read(6)
        if len(header) < 6:
            return header
        pdu_type, length = struct.unpack(">BxL", header)
        reason = self._objection(pdu_type, length, waiting)
        if reason:
            self.condemn(reason)
            return bytearray(_INVALID_HEADER)  # makes the state machine answer A-ABORT
        self._in_body = True
        return header

    def _objection(self, pdu_type: int, length: int, waiting: bool) -> str:
        if pdu_type not in _KNOWN:
            return "not a DICOM PDU"
        if waiting and pdu_type != _ASSOCIATE_RQ:
            return "no association request"
        # Some peers count the header as part of the maximum length.
        caps = {_ASSOCIATE_RQ: _MAX_ASSOCIATE, _ASSOCIATE_AC: _MAX_ASSOCIATE, _P_DATA: self._limits.max_pdu_bytes + 6}
        if length > caps.get(pdu_type, _MAX_OTHER):
            return f"a PDU of type {pdu_type} and {length} bytes is too long"
        return ""

    def _read(self, size: int) -> bytearray:
        """Read ``size`` bytes, or fewer when the peer closes or the deadline of the PDU passes."""
        data = bytearray(size)
        view, done = memoryview(data), len(self._ahead[:size])
        data[:done], self._ahead = self._ahead[:done], self._ahead[done:]
        while done < size:
            left = self._deadline - time.monotonic()
            try:
                if left <= 0:
                    raise TimeoutError
                self.socket.settimeout(left)
                received = self.socket.recv_into(view[done:])
            except TimeoutError:
                self.condemn("a PDU took too long")
                received = 0
            except OSError as error:
                self.condemn(f"connection lost: {explain(error)}")
                received = 0
            if not received:
                return bytearray(view[:done])
            done += received
        return data

    def send(self, bytestream: bytes) -> None:
        """Send, unless the peer stops reading."""
        with contextlib.suppress(OSError, AttributeError):
            self.socket.settimeout(self._limits.network_timeout_s)
        super().send(bytestream)

    def condemn(self, reason: str = "") -> None:
        """Read nothing more from this connection."""
        self._condemned = True
        self.failure = self.failure or reason
        if reason:
            peer = self.assoc.requestor if self.assoc.is_acceptor else self.assoc.acceptor
            _log.warning("connection-dropped", reason=reason, address=peer.address)

    def _shutdown_socket(self) -> None:
        """Close the socket even where it was never connected, which pynetdicom forgets."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class GuardedServer(ThreadedAssociationServer):  # type: ignore[misc]
    """An association server that bounds connections, in all and from one address.

    Parameters
    ----------
    ae
        The application entity, with its supported contexts.
    address
        Host and port.
    handlers
        pynetdicom event handlers.
    limits
        The bounds.
    prepare
        Called with each new association before it starts; returns what to call at its very end.
    on_turn
        Called at each turn of the loop that accepts connections, several times a second.
    secured
        TLS, shaken hands over in the connection's own thread; None for none.
    on_refused
        Called with address and reason for each connection that is turned away.
    admits
        Tells whether a connection from an address is read from at all; called in its own thread.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self,
        ae: AE,
        address: tuple[str, int],
        handlers: Sequence[tuple[Any, Callable[..., Any]]],
        limits: Limits,
        prepare: Callable[[Association], Callable[[], None]],
        *,
        on_turn: Callable[[], None] = lambda: None,
        secured: Secured | None = None,
        on_refused: Callable[[str, str], None] = lambda _address, _reason: None,
        admits: Callable[[str], bool] = lambda _address: True,
    ) -> None:
        self.limits, self.prepare, self.on_turn = limits, prepare, on_turn
        self._secured, self._on_refused, self._admits = secured, on_refused, admits
        self._connections: Counter[str] = Counter()
        self._lock = threading.Condition()
        wake = (evt.EVT_CONN_CLOSE, _wake)
        super().__init__(
            ae, address, ae.ae_title, ae.supported_contexts, evt_handlers=[*handlers, wake], request_handler=_Handler
        )

    @property
    def connections(self) -> int:
        """Connections that are being served."""
        with self._lock:
            return self._connections.total()

    def wait_until_idle(self, seconds: float) -> bool:
        """Wait until no connection is being served any more; return whether that is so."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._connections.total(), seconds)

    def service_actions(self) -> None:
        """Show that the loop turns."""
        super().service_actions()
        self.on_turn()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; without file descriptors to spare, wait instead of spinning."""
        try:
            return super().get_request()  # type: ignore[no-any-return]
        except OSError:
            time.sleep(0.1)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, if there is room for it."""
        address = client_address[0]
        with self._lock:
            here, everywhere = self._connections[address], self._connections.total()
            room = here < self.limits.max_associations + 16 and everywhere < 4 * self.limits.max_associations + 64
            self._connections[address] += room
        if not room:
            self._refuse(address, "too many connections")
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._forget(address)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection until it has ended."""
        try:
            if not self._admits(client_address[0]):
                raise PermissionError(errno.EACCES, "address not allowed")
            if self._secured is not None:
                request = self._secured.shake_hands(request, self.limits.association_timeout_s)
            super().process_request_thread(request, client_address)
        except OSError as error:
            self._refuse(client_address[0], explain(error))
        finally:
            self.shutdown_request(request)
            self._forget(client_address[0])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with a connection; the server goes on."""
        _log.exception("connection-failed", address=client_address[0])

    def shutdown(self) -> None:
        """Stop accepting connections and close the listening socket."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()

    def _refuse(self, address: str, reason: str) -> None:
        _log.warning("connection-refused", reason=reason, address=address)
        self._on_refused(address, reason)

    def _forget(self, address: str) -> None:
        with self._lock:
            self._connections[address] -= 1
            self._connections = +self._connections
            self._lock.notify_all()


class _Handler(RequestHandler):  # type: ignore[misc]
    def handle(self) -> None:
        assoc = self._create_association()
        assoc.dul.socket = GuardedSocket(assoc.dul.socket, self.server.limits)
        assoc.dul.state_machine = _Machine(assoc.dul)
        finish = self.server.prepare(assoc)
        try:
            assoc.start()
            assoc.join()
        finally:
            finish()


class _Machine(StateMachine):  # type: ignore[misc]
    """Ends a connection on which a step cannot be taken; pynetdicom lets its thread die of it.

    A request may be undecodable in its depth, such as a context ID that is even; or it was good and
    what came right behind it was not, and the decision comes when the connection is over already.
    """

    def do_action(self, event: str) -> None:
        """Take the next step of the state table (PS3.8 table 9-10)."""
        try:
            super().do_action(event)
        except Exception as error:  # noqa: BLE001  # whatever a peer sends must not stop the node
            if not isinstance(error, InvalidEventError):
                self.dul.socket.condemn("undecodable PDU")
            self.dul.socket.close()
            self.dul.kill_dul()
            _release(self.dul.assoc)


def _wake(event: Any) -> None:
    """Let the association's thread go when the connection closes before a request."""
    _release(event.assoc)


def _release(assoc: Association) -> None:
    if assoc.requestor.primitive is None:
        assoc.dul.to_user_queue.put(None)
