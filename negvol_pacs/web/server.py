"""The HTTP server (uvicorn) in a thread of its own."""

import socket
import ssl
import threading
from collections.abc import Callable

import structlog
import uvicorn
from starlette.types import ASGIApp

from negvol_pacs.config import Web
from negvol_pacs.errors import ConfigError, NetworkError
from negvol_pacs.web.passwords import Users

_MOST_CONNECTIONS = 100

_log = structlog.get_logger()


def check(web: Web) -> None:
    """Try certificate and password file.

    Raises
    ------
    ConfigError
        If one cannot be used.
    """
    if web.tls is not None:
        _load(_context(), web)
    if web.password_file is not None:
        Users(web.password_file).require()


class Server:
    """Answers requests from `start` to `stop`.

    Parameters
    ----------
    web
        Address, port and certificate.
    app
        What answers.
    on_turn
        Called every second by the loop that answers, to feed a watchdog.

    Raises
    ------
    ConfigError
        If the certificate cannot be used.
    NetworkError
        If the address cannot be listened to.
    """

    def __init__(self, web: Web, app: ASGIApp, on_turn: Callable[[], None]) -> None:
        async def notify() -> None:
            on_turn()

        self._web = web
        self._context = context = _load(_context(), web)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,  # the audit trail tells who is connected, not what a client says
                lifespan="off",
                ws="none",
                http="h11",
                loop="asyncio",
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_graceful_shutdown=5,
                timeout_notify=1,
                callback_notify=notify,
                ssl_context_factory=None if web.tls is None else lambda _config, _default: context,
            )
        )
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)
        try:
            family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
            self._socket = socket.create_server((web.host, web.port), family=family)
        except OSError as error:
            raise NetworkError(f"cannot listen on {web.host} port {web.port}: {error.strerror}") from error

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether requests are answered."""
        return self._thread.is_alive()

    def reload(self) -> None:
        """Take over a renewed certificate for new connections; a wrong one is logged and changes nothing."""
        try:
            _load(_context(), self._web)  # tried on another one first: it takes the chain before it sees the key
            _load(self._context, self._web)
        except ConfigError as error:
            _log.error("certificate-not-reloaded", reason=str(error))

    def stop(self) -> None:
        """Let answers that are under way finish."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    return context


def _load(context: ssl.SSLContext, web: Web) -> ssl.SSLContext:
    if web.tls is not None:
        try:
            context.load_cert_chain(web.tls.certificate, web.tls.key, password=lambda: b"")
        except OSError as error:
            raise ConfigError(f"web.tls: {web.tls.certificate}: {error.strerror or error}") from error
    return context
