"""A recording on its way in: the one file of a form, written to disk while it arrives and stopped when it is too large.

The name that comes with it is for showing only; no path is ever made of it.
"""

import re
import unicodedata
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from cimeu.server.refusals import Refused

FIELD = "file"
FORM_BYTES = 10_000
"""Room for what a form adds to its file: boundaries and headers."""
LONGEST_NAME = 120
_WINDOWS_PATH = re.compile(r"(?:[A-Za-z]:|\.\.?)?\\")
_JOINERS = "\u200c\u200d"
"""Letters of Persian and Hindi, and emoji of several parts, are other ones without these."""


async def save_upload(request: Request, path: Path, max_bytes: int) -> str:
    """Write the part `file` of a form to `path`, a new file; returns the name to show for it.

    Raises:
        Refused: no form with exactly this part (415, 422), broken (400), or too large (413).
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise Refused(
            415, "no_form", "the request is not a form with a file", f"send it as `curl -F {FIELD}=@RECORDING`"
        )
    # A first look that costs nothing; what is really received is counted below.
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes + FORM_BYTES:
        raise _too_large(max_bytes)
    received = 0
    with path.open("xb") as target:
        try:
            part = _FilePart(boundary, target)
            async for chunk in request.stream():
                received += len(chunk)
                if received > max_bytes + FORM_BYTES:
                    raise _too_large(max_bytes)
                part.parser.write(chunk)
        except FormParserError as error:
            raise Refused(400, "broken_form", f"the form cannot be read: {error}", "send it again") from None
        size = target.tell()
    # A connection that breaks off ends the stream without an error.
    if part.name is None or not part.ended:
        raise Refused(422, "no_file", f"the form breaks off or has no file `{FIELD}`", "send one file, whole")
    if size > max_bytes:
        raise _too_large(max_bytes)
    return display_name(part.name)


def display_name(raw: str) -> str:
    """A file name as it is shown: the last part of a path, of characters that print.

    >>> display_name("../../x\\n.mp4"), display_name("C:\\\\films\\\\a.mov"), display_name("..")
    ('x.mp4', 'a.mov', 'recording')
    """
    name = raw.rsplit("/", 1)[-1]
    # Elsewhere than in a path of Windows, a backslash is a sign of the name, as in `$\frac{$.mp4`.
    name = name.rsplit("\\", 1)[-1] if _WINDOWS_PATH.match(name) else name
    return printable(name).strip(". ") or "recording"


def printable(text: str) -> str:
    """Without control characters, marks of direction and halves of characters, not too long.

    >>> printable("Zo\u00eb\u00a0\u202eM. \u0645\u06cc\u200c\u062e") == "Zo\u00eb M. \u0645\u06cc\u200c\u062e"
    True
    """
    signs = (" " if unicodedata.category(sign) == "Zs" else sign for sign in text)
    kept = "".join(sign for sign in signs if sign.isprintable() or sign in _JOINERS)
    return kept[:LONGEST_NAME].strip(" " + _JOINERS)


def _too_large(max_bytes: int) -> Refused:
    return Refused(
        413,
        "too_large",
        f"the recording is larger than {max_bytes / 1e6:g} MB",
        "cut or compress it, or start the server with a larger --max-size-mb",
        headers={"Connection": "close"},
    )


class _FilePart:
    """What a form's parser calls: takes one part named `file` and refuses any other."""

    def __init__(self, boundary: bytes, target: BinaryIO) -> None:
        self.parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part,
                "on_header_field": self._on_field,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_end": self._on_end,
            },
        )
        self._target = target
        self._field = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self.name: str | None = None
        self.ended = False

    def _on_part(self) -> None:
        self._headers.clear()

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        # A second part is refused at its first header, before its content is written.
        if options.get(b"name") != FIELD.encode() or b"filename" not in options or self.name is not None:
            raise Refused(422, "no_file", f"the form must hold one file, `{FIELD}`, and nothing else", "send only that")
        self.name = options[b"filename"].decode("utf-8", "replace")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._target.write(data[start:end])

    def _on_end(self) -> None:
        self.ended = True
