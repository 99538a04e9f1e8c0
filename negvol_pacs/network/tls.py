"""Mutual TLS by BCP 195 (RFC 8996 and 9325; PS3.15 annexes B.10 and B.12): who is at the other end of a connection.

TLS 1.2 with forward secrecy and authenticated encryption, or TLS 1.3; both ends show a
certificate. Sessions are not resumed: each connection is checked against today's certificates.
"""

import errno
import hashlib
import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog

from negvol_pacs.config import Config, Destination, DestinationTls, Tls
from negvol_pacs.errors import ConfigError

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"
_SHORT = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
"""RFC 4514 section 3."""
_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no certificate",
    "WRONG_VERSION_NUMBER": "not TLS",
    "HTTP_REQUEST": "not TLS",
    "UNSUPPORTED_PROTOCOL": "TLS older than 1.2",
    "NO_SHARED_CIPHER": "no cipher suite in common",
}

_Context = TypeVar("_Context", bound=ssl.SSLContext)

_log = structlog.get_logger()


@dataclass(frozen=True)
class Certificate:
    """A peer's certificate, after the chain was verified."""

    subject: str
    """Distinguished name as in RFC 4514, such as ``CN=ct1,O=Hospital``."""
    fingerprint: str
    """SHA-256 of the certificate, 64 hexadecimal digits in lower case."""

    def is_one_of(self, listed: tuple[str, ...]) -> bool:
        """Whether the certificate is listed, by its subject or its fingerprint."""
        return self.subject in listed or any(
            entry.replace(":", "").lower() == self.fingerprint for entry in listed if "=" not in entry
        )


def certificate_of(connection: socket.socket | None) -> Certificate | None:
    """Return the certificate that the peer has shown; None without TLS."""
    if not isinstance(connection, ssl.SSLSocket):
        return None
    encoded, decoded = connection.getpeercert(binary_form=True), connection.getpeercert()
    if not encoded or not decoded:
        return None
    names: Any = decoded.get("subject", ())
    subject = ",".join("+".join(f"{_SHORT.get(k, k)}={_escape(v)}" for k, v in part) for part in reversed(names))
    return Certificate(subject, hashlib.sha256(encoded).hexdigest())


def _escape(value: str) -> str:
    """Escape a value of a distinguished name (RFC 4514 section 2.4)."""
    escaped = "".join(f"\\{c}" if c in ',+"\\<>;' else c for c in value)
    if escaped[:1] in {" ", "#"}:
        escaped = "\\" + escaped
    return escaped[:-1] + "\\ " if len(value) > 1 and value.endswith(" ") else escaped


def server_context(tls: Tls) -> ssl.SSLContext:
    """Return the listener's context, which asks every peer for a certificate.

    Raises
    ------
    ConfigError
        If a file cannot be read or certificate and key do not match.
    """
    return _configured(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls)


class _Client(ssl.SSLSocket):
    """A connection that leaves its reason behind: pynetdicom swallows it."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
            if isinstance(self.context, ClientContext):
                self.context.check(certificate_of(self))
        except OSError as error:
            if isinstance(self.context, ClientContext):
                self.context.failure = explain(error)
            raise


class ClientContext(ssl.SSLContext):
    """The context of one association with a destination."""

    sslsocket_class = _Client
    failure = ""
    """Why the handshake failed."""
    listed: tuple[str, ...] = ()
    """Certificates that the server may show; all that an authority vouches for where there are none."""

    def check(self, certificate: Certificate | None) -> None:
        """Check what the server has shown.

        Raises
        ------
        ConnectionError
            If it is not listed.
        """
        if self.listed and (certificate is None or not certificate.is_one_of(self.listed)):
            raise ConnectionError(errno.EACCES, "certificate refused: it is not listed")


def client_context(destination: Destination) -> ClientContext | None:
    """Return the context for a destination, made anew for each association; None without TLS.

    Raises
    ------
    ConfigError
        As for `server_context`.
    """
    return None if destination.tls is None else peer_context(destination.tls)


def peer_context(tls: DestinationTls) -> ClientContext:
    """Return the context for a server that must show who it is.

    Raises
    ------
    ConfigError
        As for `server_context`.
    """
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.listed = tls.check_host, tls.certificates
    return _configured(context, tls)


def check(config: Config) -> None:
    """Try every certificate of a configuration.

    Raises
    ------
    ConfigError
        As for `server_context`.
    """
    if config.node.tls is not None:
        server_context(config.node.tls)
    servers = (*config.destinations, *config.ris, config.audit.syslog)
    for tls in [server.tls for server in servers if server is not None and server.tls is not None]:
        peer_context(tls)


def _configured(context: _Context, tls: Tls) -> _Context:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.options |= ssl.OP_NO_TICKET
    if context.protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0
    path = tls.certificate
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
        path = tls.ca
        context.load_verify_locations(tls.ca)
        if tls.crl is not None:
            path = tls.crl
            context.load_verify_locations(tls.crl)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except OSError as error:
        raise ConfigError(f"TLS: {path}: {explain(error) if isinstance(error, ssl.SSLError) else error}") from error
    return context


def _no_password() -> bytes:
    """Answer for a key that is locked: a service has nobody to ask."""
    return b""


def explain(error: OSError) -> str:
    """Say in a few words why a TLS connection or file failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "the TLS handshake took too long"
    if isinstance(error, ssl.SSLEOFError):
        return "connection closed"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or "TLS error"
        return _REASONS.get(reason, reason.lower().replace("_", " "))
    return error.strerror or type(error).__name__


class Secured:
    """The listener's TLS, which takes over certificates when their files change.

    Parameters
    ----------
    tls
        Files of certificate, key and authorities.

    Raises
    ------
    ConfigError
        As for `server_context`.
    """

    def __init__(self, tls: Tls) -> None:
        self._tls, self._lock = tls, threading.Lock()
        self._seen = self._stamp()
        self._context = server_context(tls)

    def reload(self) -> bool:
        """Take over the files as they are now; without effect, and logged, while they are wrong.

        Returns
        -------
        bool
            Whether they are in use.
        """
        with self._lock:
            return self._reload()

    def _reload(self) -> bool:
        self._seen = self._stamp()
        try:
            self._context = server_context(self._tls)
        except ConfigError as error:
            _log.error("certificate-not-reloaded", reason=str(error))
            return False
        _log.info("certificate-reloaded")
        return True

    def shake_hands(self, connection: socket.socket, patience_s: float) -> ssl.SSLSocket:
        """Make a connection safe, within a time for the whole handshake.

        Raises
        ------
        OSError
            If the peer shows no certificate or a wrong one, is too old, too slow or gone.
        """
        with self._lock:
            if self._stamp() != self._seen:
                self._reload()
            context = self._context
        connection.settimeout(patience_s)
        safe = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        try:
            safe.do_handshake()  # the socket's time-out is for all of it, not for each read
        except BaseException:
            safe.close()
            raise
        safe.settimeout(None)
        return safe

    def _stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Return what tells replaced files from the former ones."""
        paths = (self._tls.certificate, self._tls.key, self._tls.ca, self._tls.crl)
        return tuple(_identity(path) for path in paths if path is not None)


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()  # follows links: certificate managers swap them
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
