"""The service: one route for each line of the table in docs/guides/service.md."""

from dataclasses import asdict
from importlib.metadata import version
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from cimeu.server.guard import COOKIE, cookie_value
from cimeu.server.predictions import EXPORTS, Predictions
from cimeu.server.refusals import Refused
from cimeu.server.schema import (
    ID,
    Change,
    Curves,
    Full,
    Health,
    Listing,
    LiveOut,
    Problem,
    curves_of,
    full_of,
    summary_of,
)
from cimeu.server.upload import FIELD, save_upload
from cimeu.timeline.explanation import Explanation
from cimeu.timeline.segments import DEMONSTRATION, USE_LIMITS
from cimeu.timeline.settings import RANGES

UPLOAD = ("POST", "/predictions")
EXPORT_TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".vtt": "text/vtt; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".eaf": "application/xml",
    ".raters.csv": "text/csv; charset=utf-8",
    ".series.csv": "text/csv; charset=utf-8",
}
"""Formats that have a media type of their own; the others are bytes."""
SETTINGS = [
    *(
        {"name": name, "schema": {"type": "number", "minimum": least, "maximum": most}}
        for name, (least, most) in RANGES.items()
    ),
    {"name": "abstain_unlike", "schema": {"type": "boolean"}},
]
"""Settings of the timeline that a recording may bring."""
UPLOAD_FORM = {
    "parameters": [{"in": "query", "required": False} | setting for setting in SETTINGS],
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
    },
}


async def _service(request: Request) -> Predictions:
    predictions = request.app.state.predictions
    assert isinstance(predictions, Predictions)
    return predictions


Service = Annotated[Predictions, Depends(_service)]
Id = Annotated[str, InPath(pattern=ID)]
router = APIRouter()


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Refusals of a route, for its description."""
    return {status: {"model": Problem} for status in (400, 401, 403, 408, 413, 421, *statuses)}


# `async`, so that it needs no thread: all threads may be waiting for recordings to be checked.
@router.get("/health")
async def health(request: Request, predictions: Service) -> Health:
    """Which model answers here, and what it accepts."""
    settings, model = predictions.settings, predictions.model
    room = request.app.state.room
    return Health(
        version=version("cimeu"),
        model=model.model,
        emotions=list(model.emotions),
        use_limits=USE_LIMITS,
        notice=DEMONSTRATION if model.demonstration else "",
        max_size_mb=settings.max_size_mb,
        max_duration_s=settings.max_duration_s,
        keep_minutes=settings.keep_minutes,
        formats=[suffix.lstrip(".") for suffix in EXPORTS],
        needs_token=bool(settings.token),
        live=None if room is None else LiveOut.model_validate(asdict(room.needs)),
    )


@router.post("/session", status_code=204, responses=problems())
async def session(request: Request, predictions: Service) -> Response:
    """For pages: a cookie that allows reading, so that players and downloads need no header."""
    response = Response(status_code=204)
    token = predictions.settings.token
    if token:
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, cookie_value(token), httponly=True, samesite="strict", secure=secure)
    return response


@router.post(UPLOAD[1], status_code=202, openapi_extra=UPLOAD_FORM, responses=problems(415, 422, 429, 507))
async def predict(request: Request, response: Response, predictions: Service) -> Full:
    """Send a recording as the file of a form; it waits for its turn. The query may name settings of its timeline."""
    settings = predictions.settings.timeline.changed(request.query_params)
    client = request.client.host if request.client else ""
    with predictions.place(client) as (number, path):
        name = await save_upload(request, path, predictions.settings.max_bytes)
        prediction = await run_in_threadpool(predictions.add, number, path, name, settings)
    response.headers["Location"] = f"/predictions/{number}"
    return full_of(prediction, predictions)


@router.get("/predictions", responses=problems())
def listing(predictions: Service) -> Listing:
    """Every recording and its status."""
    return Listing(predictions=[summary_of(prediction, predictions) for prediction in predictions.all()])


@router.get("/predictions/{id}", responses=problems(404, 422))
def status(id: Id, predictions: Service) -> Full:
    """The status of a recording, and its result once it is finished."""
    return full_of(predictions.get(id), predictions)


@router.get("/predictions/{id}/media", response_class=FileResponse, responses=problems(404, 409, 416, 422))
def media(id: Id, predictions: Service) -> FileResponse:
    """The recording itself, or a range of its bytes."""
    prediction = predictions.get(id)
    if prediction.status == "failed":
        raise Refused(409, "no_media", "the recording could not be read and was deleted", "upload another")
    return FileResponse(prediction.path, media_type=prediction.recording.media_type)


@router.get("/predictions/{id}/segments/{number}/explanation", responses=problems(404, 409, 415, 422, 503))
def explanation(id: Id, number: Annotated[int, InPath(ge=0, le=999_999)], predictions: Service) -> Explanation:
    """What one segment rests on: parts of its input taken away, and the nearest training clips.

    The recording is read again around the segment; the answer is kept and is part of later exports.
    """
    return predictions.explanation(id, number)


@router.get("/predictions/{id}/exports/{format}", response_class=Response, responses=problems(404, 409, 422))
def export(id: Id, format: Annotated[str, InPath(max_length=20)], predictions: Service) -> Response:
    """The timeline as a file, with names and labels as people gave them."""
    suffix = f".{format}"
    name, content = predictions.export(id, suffix)
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    }
    return Response(content, media_type=EXPORT_TYPES.get(suffix, "application/octet-stream"), headers=headers)


@router.get("/predictions/{id}/curves", responses=problems(404, 409, 422), response_model_exclude_none=True)
def curves(id: Id, predictions: Service, points: Annotated[int, Query(ge=10, le=5000)] = 600) -> Curves:
    """Scores over time, lane by lane, thinned to so many points by means."""
    prediction, _ = predictions.finished(id)
    assert prediction.timeline is not None, "finished"
    return curves_of(prediction.timeline, points)


@router.patch("/predictions/{id}", responses=problems(404, 409, 422))
def edit(id: Id, change: Change, predictions: Service) -> Full:
    """Name people, correct labels, keep tiers of raters: as long as the prediction, and part of its exports."""
    predictions.edit(id, change.names(), change.numbered(), change.tiers())
    return full_of(predictions.get(id), predictions)


@router.delete("/predictions/{id}", status_code=204, responses=problems(404, 422))
def delete(id: Id, predictions: Service) -> Response:
    """Delete a recording, its result and its corrections; stops it if it is being read."""
    predictions.delete(id)
    return Response(status_code=204)
