"""What the server answers when it refuses a request: one shape, `{"code", "message", "hint"}`."""

from collections.abc import Mapping

from fastapi.responses import JSONResponse

from cimeu.errors import CimeuError, MediaError
from cimeu.server.isolated import Lost
from cimeu.server.recording import TooLong


class Refused(Exception):
    """A request that is not fulfilled, with the status, a word for programs, and words for people."""

    def __init__(
        self, status: int, code: str, message: str, hint: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.hint, self.headers = status, code, message, hint, headers

    def response(self) -> JSONResponse:
        """The refusal as it is sent."""
        content = {"code": self.code, "message": self.message, "hint": self.hint}
        return JSONResponse(content, self.status, headers=dict(self.headers or {}))


def from_error(error: CimeuError, *, hide: str = "", show: str = "") -> Refused:
    """A deliberate error as a refusal; `show` replaces `hide` in it: nobody outside learns where files lie."""
    message, _, hint = (
        str(error).replace(hide, show).partition("\n\nhint: ") if hide else str(error).partition("\n\nhint: ")
    )
    if isinstance(error, TooLong):
        return Refused(422, "too_long", message, hint)
    if isinstance(error, Lost):
        return Refused(422, "reading_failed", message, hint)
    if isinstance(error, MediaError):
        return Refused(415, "no_recording", message, hint)
    return Refused(422, "not_possible", message, hint)
