"""What stands before the viewer: who may ask for what, and which files are given out.

- Bound to this machine alone, only requests that name this machine (`Host`) are answered: another site's page whose
  name was pointed at 127.0.0.1 (DNS rebinding) is not.
- What changes anything (POST) must come from the viewer's own pages (`Origin`, `Sec-Fetch-Site`, a JSON body),
  and where the viewer is not bound to this machine alone, with its token.
- Only files of an atlas' kinds inside its folder are given out, never through a link that leads out of it.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
from collections.abc import Awaitable, Callable
from pathlib import PurePath
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles

LOCAL = ("localhost", "127.0.0.1", "::1")
KINDS = (".html", ".js", ".css", ".png", ".webp", ".jpg", ".jpeg", ".json", ".parquet")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


def is_loopback(host: str) -> bool:
    """Whether an address to bind to reaches this machine alone.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0"), is_loopback("localhost")
    (True, False, True)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """Refuses requests that are not meant for the viewer, before anything of it runs.

    local: whether it is bound to this machine alone. token: what a POST must carry, None for nothing.
    """

    def __init__(self, app: Any, *, local: bool, token: str | None):
        self.app, self.local, self.token = app, local, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return

        async def sealed(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        refused = self.check(scope["method"], Headers(scope=scope))
        await (refused or self.app)(scope, receive, sealed)

    def check(self, method: str, headers: Headers) -> Response | None:
        """The answer to a request that may not pass, None for one that may."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or (self.local and _name(hosts[0]) not in LOCAL):
            return refuse(421, "this viewer answers to localhost and 127.0.0.1 only")
        if method in ("GET", "HEAD"):
            return None
        if method != "POST":
            return refuse(405, "the viewer takes GET, HEAD and POST")
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
        if (origin is not None and urlsplit(origin).netloc != hosts[0]) or site not in (
            "same-origin",
            "none",
        ):
            return refuse(403, "only the viewer's own pages may ask for this")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return refuse(415, "the body must be application/json")
        if self.token is not None and not _carries(headers.get("authorization", ""), self.token):
            return refuse(401, "drawing needs the token that `filterscope view` printed")
        return None


def refuse(status: int, message: str, **headers: str) -> JSONResponse:
    """An answer with what is wrong."""
    return JSONResponse({"error": message}, status_code=status, headers=headers)


def _carries(authorization: str, token: str) -> bool:
    """Whether an Authorization header has the token: as it is, or escaped as in an address, since a header takes
    few characters."""
    given = authorization.removeprefix("Bearer ").encode("latin-1")  # the very bytes: starlette reads them so
    same = [hmac.compare_digest(one, token.encode()) for one in (given, unquote_to_bytes(given))]
    return any(same)  # both are compared always


def _name(host: str) -> str:
    """The host of a Host header without its port, brackets or final dot."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


class AtlasFiles(StaticFiles):
    """The files of an atlas: those of its kinds, inside its folder, not hidden."""

    def __init__(self, folder: str | os.PathLike[str]):
        super().__init__(directory=folder, html=True, follow_symlink=False)

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        parts = PurePath(path).parts
        if any(p.startswith(".") or "\\" in p or not p.isprintable() for p in parts if p != "."):
            return "", None
        try:
            full, found = super().lookup_path(path)
        except (OSError, ValueError):  # a loop of links, a name too long, no permission
            return "", None
        is_file = found is not None and not os.path.isdir(full)  # noqa: PTH112 - StaticFiles deals in text
        return ("", None) if is_file and not full.endswith(KINDS) else (full, found)

    async def get_response(self, path: str, scope: Any) -> Response:
        try:
            return await super().get_response(path, scope)
        except OSError:  # gone, or closed to us, between looking and reading
            raise HTTPException(404) from None
