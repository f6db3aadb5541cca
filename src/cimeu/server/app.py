"""The application: who may ask (`guard`), how much and how slowly (`limits`), the routes, the page, and the errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.resources import files

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cimeu.atomic import NO_ROOM
from cimeu.errors import CimeuError
from cimeu.server.connections import Connections
from cimeu.server.guard import Guard
from cimeu.server.limits import SmallBodies, Timed
from cimeu.server.live import Room, live_router
from cimeu.server.predictions import Predictions
from cimeu.server.refusals import Refused, from_error
from cimeu.server.routes import UPLOAD, router
from cimeu.timeline.segments import USE_LIMITS

PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/viewer.css": ("viewer.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/tiers.js": ("tiers.js", "text/javascript; charset=utf-8"),
    "/viewer.js": ("viewer.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
LIVE_PAGE = {
    "/live": ("live.html", "text/html; charset=utf-8"),
    "/live.js": ("live.js", "text/javascript; charset=utf-8"),
    "/microphone.js": ("microphone.js", "text/javascript; charset=utf-8"),
}
"""There only where the server was started with `--live`."""
OPEN_PATHS = frozenset({*PAGE, "/health"})
"""Readable without a token: the page, which asks for it, and whether the server is up."""


def create_app(predictions: Predictions, connections: Connections | None = None, room: Room | None = None) -> FastAPI:
    """The service of these predictions; it starts and ends with them.

    Args:
        predictions: what the service is about.
        connections: those of the protocol that calls it (`cimeu.server.connections.protocol_of`).
        room: where a camera and a microphone are live; None for a service without that.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        predictions.start()
        yield
        await run_in_threadpool(predictions.close)

    settings = predictions.settings
    app = FastAPI(
        title="CiMEU",
        version=version("cimeu"),
        description=f"Emotion in recordings of people.\n\n{USE_LIMITS}",
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        dependencies=[Depends(HTTPBearer(auto_error=False, description="Where the server has a token."))],
    )
    app.state.predictions, app.state.room = predictions, room
    pages = PAGE if room is None else PAGE | LIVE_PAGE
    # From the inside out: a body is read only for those who may ask.
    app.add_middleware(SmallBodies, upload=UPLOAD)
    app.add_middleware(Guard, settings=settings, open_paths=OPEN_PATHS | pages.keys())
    connections = Connections(settings) if connections is None else connections
    app.add_middleware(Timed, settings=settings, connections=connections)
    app.include_router(router)
    if room is not None:
        app.include_router(live_router)
    for path, (file, media_type) in pages.items():
        _add_page(app, path, files("cimeu.server").joinpath("static", file).read_bytes(), media_type)
    _one_shape_of_errors(app)
    return app


def _add_page(app: FastAPI, path: str, content: bytes, media_type: str) -> None:
    async def page() -> Response:
        return Response(content, media_type=media_type)

    app.add_api_route(path, page, include_in_schema=False)


def _one_shape_of_errors(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    def refused(request: Request, error: Refused) -> JSONResponse:
        return error.response()

    @app.exception_handler(CimeuError)
    def deliberate(request: Request, error: CimeuError) -> JSONResponse:
        return from_error(error).response()

    @app.exception_handler(OSError)
    def system(request: Request, error: OSError) -> JSONResponse:
        if error.errno not in NO_ROOM:
            raise error
        return Refused(
            507, "no_room", "the server's disk takes no more files", "delete what is no longer needed"
        ).response()

    @app.exception_handler(ClientDisconnect)
    def gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        return Refused(400, "broken_off", "the request broke off", "send it again").response()

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return Refused(422, "invalid", f"{place}: {first['msg']}", "see /openapi.json").response()

    @app.exception_handler(HTTPException)
    def plain(request: Request, error: HTTPException) -> JSONResponse:
        message = f"{request.method} {request.url.path}: {error.detail}"
        return Refused(error.status_code, "not_served", message, "see /openapi.json", headers=error.headers).response()

    @app.exception_handler(Exception)
    def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return Refused(500, "unforeseen", f"unexpected {type(error).__name__}", "the server's log says more").response()
