"""What stands before the pages: who may call, by which name, and what a browser may do with the answer."""

import base64
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from negvol_pacs.config import Web
from negvol_pacs.web.passwords import Users

OPEN = ("/health",)
"""Without a login: a load balancer has none, and it tells of no study."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


def guarded(app: ASGIApp, web: Web, users: Users | None, on_refused: Callable[[str, str], None]) -> ASGIApp:
    """Put the guards before an application.

    Parameters
    ----------
    app
        What is guarded.
    web
        The names that count.
    users
        Who may look; None where everybody who can connect may.
    on_refused
        Called with the address and the reason for each login that fails.
    """
    if users is not None:
        app = Login(app, users, on_refused)
    # No page of somebody else may read this one by a name that it made point here (DNS rebinding).
    return SafeHeaders(TrustedHostMiddleware(app, allowed_hosts=names(web), www_redirect=False))


def names(web: Web) -> list[str]:
    """Return what the server may be called in a Host header."""
    own = f"[{web.host}]" if ":" in web.host else web.host
    return ["localhost", "127.0.0.1", "[::1]", own, *web.hosts]


class SafeHeaders:
    """Tells the browser to run nothing, load nothing from elsewhere and keep nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to each answer."""

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_safely)


class Login:
    """HTTP Basic (RFC 7617); puts the user's name into ``scope["user"]``."""

    def __init__(self, app: ASGIApp, users: Users, on_refused: Callable[[str, str], None]) -> None:
        self._app, self._users, self._on_refused = app, users, on_refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let those pass who show a name and a password, and anybody to what is open."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        shown = Headers(scope=scope).get("authorization")
        user = await run_in_threadpool(self._user, shown) if shown else None
        if user is not None:
            await self._app({**scope, "user": user}, receive, send)
            return
        if shown:
            self._on_refused(address(scope), "wrong user name or password")
        challenge = {"WWW-Authenticate": 'Basic realm="negvol", charset="UTF-8"'}
        await PlainTextResponse("A user name and a password are needed.", 401, challenge)(scope, receive, send)

    def _user(self, shown: str) -> str | None:
        scheme, _, encoded = shown.partition(" ")
        try:
            name, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            return None
        right = scheme.lower() == "basic" and bool(colon) and self._users.admits(name, password)
        return name if right else None


def address(scope: Scope) -> str:
    """Return the address that a request came from."""
    client = scope.get("client")
    return str(client[0]) if client else ""
