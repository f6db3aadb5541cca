"""The service: one route a line of the table in docs/guides/service.md, and the page that uses them."""

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.resources import files
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, FastAPI, Request, Response
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cimeu.errors import CimeuError
from cimeu.server.guard import COOKIE, Guard, cookie_value
from cimeu.server.predictions import Predictions
from cimeu.server.refusals import Refused, from_error
from cimeu.server.schema import ID, Change, Full, Health, Listing, Problem, full_of, summary_of
from cimeu.server.upload import FIELD, save_upload
from cimeu.timeline.explanation import Explanation
from cimeu.timeline.formats import WRITERS
from cimeu.timeline.timeline import DEMONSTRATION, USE_LIMITS

PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/viewer.css": ("viewer.css", "text/css; charset=utf-8"),
    "/viewer.js": ("viewer.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
OPEN_PATHS = frozenset({*PAGE, "/health"})
"""The page, which asks for the token, and whether the server is up."""
EXPORT_TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".vtt": "text/vtt; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".eaf": "application/xml",
}
"""Formats that have a name of their own; the others are bytes."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
UPLOAD_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "additionalProperties": False,
                    "properties": {FIELD: {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}
Id = Annotated[str, InPath(pattern=ID)]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Refusals of a route, for its description."""
    return {status: {"model": Problem} for status in (400, 401, 403, 421, *statuses)}


def create_app(predictions: Predictions) -> FastAPI:
    """The service of these predictions; it starts and ends with them."""
    settings, model = predictions.settings, predictions.model

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        predictions.start()
        yield
        await run_in_threadpool(predictions.close)

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
    app.add_middleware(Guard, settings=settings, open_paths=OPEN_PATHS)

    @app.get("/health")
    def health() -> Health:
        """Who answers here, and what it accepts."""
        return Health(
            version=version("cimeu"),
            model=model.model,
            emotions=list(model.emotions),
            use_limits=USE_LIMITS,
            notice=DEMONSTRATION if model.demonstration else "",
            max_size_mb=settings.max_size_mb,
            max_duration_s=settings.max_duration_s,
            keep_minutes=settings.keep_minutes,
            formats=[suffix.lstrip(".") for suffix in WRITERS],
            needs_token=bool(settings.token),
        )

    @app.post("/session", status_code=204, responses=problems())
    def session(request: Request) -> Response:
        """For pages: a cookie that allows reading, so that players and downloads need no header."""
        response = Response(status_code=204)
        if settings.token:
            secure = request.url.scheme == "https"
            response.set_cookie(COOKIE, cookie_value(settings.token), httponly=True, samesite="strict", secure=secure)
        return response

    @app.post("/predictions", status_code=202, openapi_extra=UPLOAD_FORM, responses=problems(413, 415, 422, 429, 507))
    async def predict(request: Request, response: Response) -> Full:
        """Send a recording as the file of a form; it waits for its turn."""
        with predictions.place() as (number, path):
            name = await save_upload(request, path, settings.max_bytes)
            prediction = await run_in_threadpool(predictions.add, number, path, name)
        response.headers["Location"] = f"/predictions/{number}"
        return full_of(prediction, predictions)

    @app.get("/predictions", responses=problems())
    def listing() -> Listing:
        """Every recording and where it stands."""
        return Listing(predictions=[summary_of(each, predictions) for each in predictions.all()])

    @app.get("/predictions/{id}", responses=problems(404, 422))
    def status(id: Id) -> Full:
        """Where a recording stands, and its result once it is finished."""
        return full_of(predictions.get(id), predictions)

    @app.get("/predictions/{id}/media", response_class=FileResponse, responses=problems(404, 409, 416, 422))
    def media(id: Id) -> FileResponse:
        """The recording itself, or a range of its bytes."""
        prediction = predictions.get(id)
        if prediction.status == "failed":
            raise Refused(409, "no_media", "the recording could not be read and was deleted", "upload another")
        return FileResponse(prediction.path, media_type=prediction.recording.media_type)

    @app.get("/predictions/{id}/segments/{number}/explanation", responses=problems(404, 409, 415, 422, 503))
    def explanation(id: Id, number: Annotated[int, InPath(ge=0, le=999_999)]) -> Explanation:
        """What one segment rests on: parts of its input taken away, and the nearest training clips.

        The recording is read again around the segment; the answer is kept and stands in later exports.
        """
        return predictions.explanation(id, number)

    @app.get("/predictions/{id}/exports/{format}", response_class=Response, responses=problems(404, 409, 422))
    def export(id: Id, format: Annotated[str, InPath(max_length=20)]) -> Response:
        """The timeline as a file, with names and labels as people gave them."""
        suffix = f".{format}"
        name, content = predictions.export(id, suffix)
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
        }
        return Response(content, media_type=EXPORT_TYPES.get(suffix, "application/octet-stream"), headers=headers)

    @app.patch("/predictions/{id}", responses=problems(404, 409, 422))
    def edit(id: Id, change: Change) -> Full:
        """Name people and correct labels; kept as long as the prediction, and part of every export."""
        predictions.edit(id, change.names(), change.numbered())
        return full_of(predictions.get(id), predictions)

    @app.delete("/predictions/{id}", status_code=204, responses=problems(404, 422))
    def delete(id: Id) -> Response:
        """Delete a recording, its result and its corrections; stops it if it is being read."""
        predictions.delete(id)
        return Response(status_code=204)

    for path, (file, media_type) in PAGE.items():
        _add_page(app, path, files("cimeu.server").joinpath("static", file).read_bytes(), media_type)
    _one_shape_of_errors(app)
    return app


def _add_page(app: FastAPI, path: str, content: bytes, media_type: str) -> None:
    app.add_api_route(path, lambda: Response(content, media_type=media_type), include_in_schema=False)


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
        return Refused(507, "no_room", "the server's disk is full", "delete what is no longer needed").response()

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
