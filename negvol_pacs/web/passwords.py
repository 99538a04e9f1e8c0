"""Who may look: a file of names and hashed passwords (scrypt, RFC 7914), a line each."""

import base64
import hashlib
import hmac
import re
import secrets
import threading
from pathlib import Path

import structlog

from negvol_pacs.errors import ConfigError

SHORTEST = 12
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_COST = {"n": 1 << 15, "r": 8, "p": 3, "maxmem": 64 << 20}
"""About a quarter of a second; OWASP's Password Storage Cheat Sheet."""

_log = structlog.get_logger()


def line(name: str, password: str) -> str:
    """Return the file's line for a user.

    Raises
    ------
    ConfigError
        If the name has other characters than letters, digits and ``._@-``, or the password is too short.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError("a user's name has letters, digits and ._@- only")
    if len(password) < SHORTEST:
        raise ConfigError(f"a password has at least {SHORTEST} characters")
    salt = secrets.token_bytes(16)
    return f"{name}:{_encode(salt)}:{_encode(_hash(password, salt))}"


class Users:
    """The users of a file, which is read anew for each question: a person may change it at any time.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._key = secrets.token_bytes(32)
        self._known: set[bytes] = set()

    def require(self) -> None:
        """Check the file.

        Raises
        ------
        ConfigError
            If it cannot be read, has a bad line or no user.
        """
        try:
            if not self._read():
                raise ConfigError(f"{self._path}: no user; see negvol web-user")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self._path}: cannot be used: {error}") from error

    def admits(self, name: str, password: str) -> bool:
        """Tell whether this is a user and the password is right.

        The right one is remembered (as a keyed hash, in memory), since the hash is meant to take
        long; wrong ones wait for each other, so that guessing takes one core at most.
        """
        try:
            salt, expected = self._read().get(name, (b"nobody", b""))
        except (OSError, ValueError) as error:
            _log.error("users-unreadable", file=str(self._path), reason=type(error).__name__)
            return False
        mark = hmac.digest(self._key, expected + password.encode(), "sha256")
        if mark in self._known:
            return True
        with self._lock:
            right = hmac.compare_digest(_hash(password, salt), expected)
        if right:
            self._known.add(mark)
        return right

    def _read(self) -> dict[str, tuple[bytes, bytes]]:
        found = {}
        for number, entry in enumerate(self._path.read_text(encoding="ascii").splitlines(), 1):
            if not entry.strip() or entry.startswith("#"):
                continue
            try:
                name, salt, expected = entry.strip().split(":")
                found[name] = base64.b64decode(salt, validate=True), base64.b64decode(expected, validate=True)
            except ValueError as error:
                raise ValueError(f"line {number} is no line of negvol web-user") from error
        return found


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, **_COST)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()
