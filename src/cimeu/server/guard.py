"""Who may ask what: checked before anything else is read of a request.

- A token, where one is set: `Authorization: Bearer`, or for reading the cookie that the page gets for it, because the
  browser's player and downloads cannot send headers.
- On this machine's own address, only requests that name this machine: a foreign site whose name was pointed here (DNS
  rebinding) names itself.
- Nothing is changed, and no socket opened, for another site's page (cross-site request forgery): browsers say where a
  request comes from.
"""

import hashlib
import hmac
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cimeu.server.refusals import Refused
from cimeu.server.settings import LOOPBACK_NAMES, ServerSettings

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
COOKIE = "cimeu_reader"
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def cookie_value(token: str) -> str:
    """What the page's cookie holds: shows that the token was known, without holding it."""
    return hmac.new(token.encode(), b"cimeu reader", hashlib.sha256).hexdigest()


class Guard:
    """Middleware that refuses requests and adds headers that keep the page to itself."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, open_paths: Collection[str]) -> None:
        """`open_paths` may be read without a token."""
        self._app, self._settings, self._open_paths = app, settings, open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may pass."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(HTTPConnection(scope))
        except Refused as refused:
            await refused.response()(scope, receive, send_safely)
        else:
            await self._app(scope, receive, send_safely)

    def _check(self, request: HTTPConnection) -> None:
        # Browsers let any page open a socket to any host, so one is as good as a change.
        is_safe = _method_of(request) in SAFE_METHODS and request.scope["type"] == "http"
        host = request.headers.get("host", "")
        if self._settings.is_local and _name_of(host) not in {*LOOPBACK_NAMES, self._settings.host}:
            raise Refused(
                421, "foreign_host", "this server answers only to names of this machine", "open http://127.0.0.1"
            )
        if not is_safe and not _is_same_origin(request, host):
            raise Refused(403, "foreign_origin", "the request comes from another site's page", "use the server's own")
        if self._settings.token and request.url.path not in self._open_paths and not self._knows_token(request):
            raise Refused(
                401,
                "no_token",
                "the token is missing or wrong",
                "send the header `Authorization: Bearer TOKEN`",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _knows_token(self, request: HTTPConnection) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _equal(given, self._settings.token):
            return True
        cookie = request.cookies.get(COOKIE, "")
        return _method_of(request) in SAFE_METHODS and _equal(cookie, cookie_value(self._settings.token))


def _method_of(request: HTTPConnection) -> str:
    """A socket begins as a GET."""
    return str(request.scope.get("method", "GET"))


def _equal(given: str, token: str) -> bool:
    """Compared in a time that does not tell how much is right."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())


def _name_of(host: str) -> str:
    """`[::1]:8000` -> `::1`; empty where it is malformed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_same_origin(request: HTTPConnection, host: str) -> bool:
    """Whether a browser sent this for a page of ours; programs say nothing of it and are no browser."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == host
    except ValueError:  # `http://[`
        return False
