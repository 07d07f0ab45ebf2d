"""The viewer: the gallery's pages from a server, which can draw.

    filterscope view out/atlas

It serves the files of the folder as they are, but for `_gallery/`, which it takes from the package so that the
pages find the script that draws. Drawing goes by a few addresses under `/_live/`:

    GET  /_live/config               networks, recipes, bounds
    POST /_live/jobs                 queue a drawing -> {"id": ...}; 503 where too many wait
    GET  /_live/jobs/ID/events       server-sent events: progress, preview, then done, failed or cancelled
    POST /_live/photographs          queue a look at a photograph -> {"id": ...}; its events end with what was found
    POST /_live/jobs/ID/cancel       stop it
    GET  /_live/jobs/ID/N.png        its picture, with the recipe inside; N.alpha.png with an alpha channel
    POST /_live/jobs/ID/keep         keep it in the atlas: NETWORK/drawn/, beside the atlas' own pictures

A job's id cannot be guessed, so that only who asked for it, or was given it, can use it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from filterscope.atlas.gallery.data import Index, read_networks
from filterscope.atlas.gallery.kept import keep_picture, list_kept
from filterscope.atlas.gallery.pages import (
    ASSETS,
    SHARED,
    build_gallery,
    is_built,
    read_asset,
    write_kept,
)
from filterscope.atlas.storage.store import Store, open_store
from filterscope.errors import ArgumentError, FilterscopeError, OutputError, QueueFullError
from filterscope.recipe import ALIASES, AUTO, PRESETS
from filterscope.viewer.events import describe_job, format_event
from filterscope.viewer.guard import AtlasFiles, Guard, is_loopback, refuse
from filterscope.viewer.jobs import ENDS, DrawQueue, Job
from filterscope.viewer.photographs import parse_photograph
from filterscope.viewer.requests import MAX_SIDE, MAX_STEPS, count_units, parse_request

if TYPE_CHECKING:
    from filterscope.networks import Network

PORT = 8765
MAX_BODY_BYTES = 64 * 1024  # of a request; a recipe is about one thousand
MAX_PHOTOGRAPH_BYTES = (
    4 * 1024 * 1024
)  # of one with a photograph in base64; the pages send less than a tenth of it
MAX_BODY_SECONDS = 10.0  # for a body to arrive
MAX_STREAMS = 128  # of events at once
POLL_SECONDS = 0.1  # from one look at a job to the next, for each stream
KEEPALIVE_SECONDS = 15.0  # from one comment to the next, so that proxies keep the stream open
MAX_CONNECTIONS = 512
TYPES = {".js": "text/javascript", ".css": "text/css"}


def view(
    address: str | os.PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    token: str | None = None,
    networks: Mapping[str, Network] | None = None,
    on_ready: Callable[[str], object] = print,
) -> None:
    """Serve an atlas until Ctrl-C.

    address: the atlas' folder, on this machine. host, port: where to listen; port 0 takes any free one.
    token: what drawing needs; made anew where `host` reaches further than this machine and none is given.
    networks: opened networks by their folder, for an atlas of model objects. `on_ready` is given the viewer's
    address, its token included.

    Raises ArgumentError where there is no atlas or the token cannot be, OutputError where the port is taken.
    """
    if token is not None and not (token.strip() and token.isprintable()):
        raise ArgumentError(f"a token consists of visible characters (got {token!r})")
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(18)
    app, queue = make_app(address, local=is_loopback(host), token=token, networks=networks)
    try:
        with listen(host, port) as own:
            name, bound = host.strip("[]"), own.getsockname()[1]
            anywhere = name in ("0.0.0.0", "::", "")
            shown = socket.gethostname() if anywhere else f"[{name}]" if ":" in name else name
            on_ready(f"http://{shown}:{bound}/" + (f"?token={quote(token, safe='')}" if token else ""))
            with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how a server ends
                server(app).run(sockets=[own])
    finally:
        queue.close()


def server(app: Any) -> uvicorn.Server:
    """The web server with its bounds: connections, size of headers, time to end."""
    return uvicorn.Server(
        uvicorn.Config(
            app, log_level="error", access_log=False, server_header=False, http="h11", ws="none",
            limit_concurrency=MAX_CONNECTIONS, h11_max_incomplete_event_size=16 * 1024, timeout_graceful_shutdown=2,
        )
    )  # fmt: skip


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; OutputError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        raise OutputError(f"cannot listen on {host}, port {port}: {error}") from error


def make_app(
    address: str | os.PathLike[str],
    *,
    local: bool = True,
    token: str | None = None,
    networks: Mapping[str, Network] | None = None,
) -> tuple[Guard, DrawQueue]:
    """The viewer as an ASGI application, and the queue that draws for it, to be closed after use."""
    store = open_store(address)
    if not store.local:
        raise ArgumentError(f"the viewer serves a folder of this machine (got {store.address})")
    found = read_networks(store, Index(store))
    root = Path(store.path())
    if not is_built(store):
        build_gallery(address)
    queue = DrawQueue({n.folder: n.record for n in found}, networks)
    live = _Live(store, queue, needs_token=token is not None)
    routes = [
        Route("/_live/config", live.config),
        Route("/_live/jobs", live.draw, methods=["POST"]),
        Route("/_live/photographs", live.look, methods=["POST"]),
        Route("/_live/jobs/{id}/events", live.events),
        Route("/_live/jobs/{id}/cancel", live.cancel, methods=["POST"]),
        Route("/_live/jobs/{id}/keep", live.keep, methods=["POST"]),
        Route("/_live/jobs/{id}/{index:int}.png", live.picture),
        Route("/_live/jobs/{id}/{index:int}.alpha.png", live.looked),
        Route(f"/{SHARED}/{{name}}", _shared),
        Mount("/", AtlasFiles(root)),
    ]
    errors = {HTTPException: _http_error, FilterscopeError: _own_error}
    return Guard(Starlette(routes=routes, exception_handlers=errors), local=local, token=token), queue  # type: ignore[arg-type]


async def _shared(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in (*ASSETS, "live.js", "compare.js", "photograph.js"):
        raise HTTPException(404)
    return Response(read_asset(name), media_type=TYPES[Path(name).suffix])


async def _http_error(_: Request, error: HTTPException) -> Response:
    messages = {404: "there is no such page", 405: "that cannot be done here"}
    return refuse(error.status_code, messages.get(error.status_code, error.detail))


async def _own_error(_: Request, error: FilterscopeError) -> Response:
    if isinstance(error, QueueFullError):
        return refuse(503, str(error), **{"Retry-After": "60"})
    return refuse(422 if isinstance(error, ArgumentError) else 500, str(error))


class _Live:
    """What the server adds to the pages."""

    def __init__(self, store: Store, queue: DrawQueue, *, needs_token: bool):
        self.store, self.queue, self.needs_token = store, queue, needs_token
        self.watchers = 0
        self.keeping = asyncio.Lock()

    async def config(self, _: Request) -> Response:
        layers = {name: count_units(manifest) for name, manifest in self.queue.manifests.items()}
        recipes = [AUTO, *PRESETS, *ALIASES]
        return JSONResponse(
            {
                "token": self.needs_token,
                "networks": layers,
                "recipes": recipes,
                "steps": MAX_STEPS,
                "side": MAX_SIDE,
            }
        )

    async def draw(self, request: Request) -> Response:
        job = self.queue.submit(parse_request(await _read_body(request), self.queue.manifests))
        return JSONResponse({"id": job.id, "ahead": self.queue.place(job)}, status_code=202)

    async def look(self, request: Request) -> Response:
        body = await _read_body(request, MAX_PHOTOGRAPH_BYTES)
        job = self.queue.submit(parse_photograph(body, self.queue.manifests))
        return JSONResponse({"id": job.id, "ahead": self.queue.place(job)}, status_code=202)

    async def events(self, request: Request) -> Response:
        job = self._job(request)
        if self.watchers >= MAX_STREAMS:
            return refuse(503, "too many drawings are being watched; try again in a minute")
        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(self._stream(job), media_type="text/event-stream", headers=headers)

    async def _stream(self, job: Job) -> AsyncIterator[str]:
        """The job's newest state whenever it has changed, until it ends or the reader goes."""
        self.watchers += 1
        self.queue.watch(job, 1)
        seen, previews, silent, ahead = -1, 0, 0.0, -1
        try:
            while True:
                place = self.queue.place(job) if job.state == "queued" else 0
                if job.version != seen or place != ahead:
                    seen, ahead, silent = job.version, place, 0.0
                    if job.previews != previews:
                        previews = job.previews
                        if job.preview:  # none any more, once it is done
                            yield format_event("preview", {"image": job.preview, "step": job.step})
                    kind, state = describe_job(job, place)
                    yield format_event(kind, state)
                    if kind in ENDS:  # as sent: the job may have ended since
                        return
                elif silent > KEEPALIVE_SECONDS:
                    silent = 0.0
                    yield ": still here\n\n"
                await asyncio.sleep(POLL_SECONDS)
                silent += POLL_SECONDS
        finally:
            self.watchers -= 1
            self.queue.watch(job, -1)

    async def cancel(self, request: Request) -> Response:
        await _read_body(request)
        job = self._job(request)
        self.queue.cancel(job)
        return JSONResponse({"state": job.state})

    async def picture(self, request: Request) -> Response:
        return self._png(request, alpha=False)

    async def looked(self, request: Request) -> Response:
        return self._png(request, alpha=True)

    def _png(self, request: Request, *, alpha: bool) -> Response:
        picture = self._finished(request, request.path_params["index"])
        return Response(picture.encoded(alpha=alpha), media_type="image/png")

    async def keep(self, request: Request) -> Response:
        asked = await _read_body(request)
        index = asked.get("picture", 0) if isinstance(asked, dict) else None
        if type(index) is not int:
            raise ArgumentError("what to keep is the number of a picture")
        picture, folder = self._finished(request, index), self._job(request).request.network
        async with self.keeping:
            file = await run_in_threadpool(keep_picture, self.store, folder, picture)
            await run_in_threadpool(write_kept, self.store, folder)
            rows = await run_in_threadpool(list_kept, self.store, folder)
        return JSONResponse(next(row for row in rows if row["file"] == file))

    def _job(self, request: Request) -> Job:
        job = self.queue.find(request.path_params["id"])
        if job is None:
            raise HTTPException(404, "there is no such drawing (any more)")
        return job

    def _finished(self, request: Request, index: int) -> Any:
        pictures = self._job(request).pictures
        if not 0 <= index < len(pictures):
            raise HTTPException(404)
        return pictures[index]


async def _read_body(request: Request, most: int = MAX_BODY_BYTES) -> Any:
    """The JSON of a request's body, which must be small and arrive soon."""
    data = bytearray()

    async def read() -> None:
        async for part in request.stream():
            data.extend(part)
            if len(data) > most:
                raise HTTPException(413, f"the body may have {most} bytes")

    try:
        await asyncio.wait_for(read(), MAX_BODY_SECONDS)
        return json.loads(data)
    except TimeoutError:
        raise HTTPException(408, "the body did not arrive") from None
    except ClientDisconnect:
        raise HTTPException(400, "the client has gone") from None
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is no JSON: {error}") from None
