"""TextGrids of Praat, read: tiers of intervals and points, in the long and the short text form.

Source: Praat's manual, "TextGrid file formats" (UTF-8 or UTF-16).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cimeu.errors import ManifestError
from cimeu.reading import read_bytes

SUFFIX = ".TextGrid"
LARGEST_BYTES = 2**26
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?:\[\d*\]|![^\n]*)|([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)|(<exists>)')
"""Texts, numbers and the flag are what counts; numbers in brackets and comments (`!`) are for people."""


class Interval(NamedTuple):
    """A stretch of a tier; a point begins and ends at once."""

    tier: str
    start_s: float
    end_s: float
    text: str


def read_textgrid(path: Path) -> Iterator[Interval]:
    """Every interval and point of a TextGrid, those without text too.

    Raises:
        ManifestError: the file is missing, no TextGrid, or breaks off.
    """
    # After the header both forms are the same numbers and texts in quotes.
    tokens = (token for token in _TOKEN.finditer(_text(path)) if token.lastindex)
    try:
        # Old versions of Praat call the short form so.
        if next(tokens)[1] not in ("ooTextFile", "ooTextFile short") or next(tokens)[1] != "TextGrid":
            raise ValueError("no TextGrid")
        _number(tokens), _number(tokens), next(tokens)
        for _ in range(int(_number(tokens))):
            kind, name = next(tokens)[1], next(tokens)[1].replace('""', '"')
            _number(tokens), _number(tokens)
            for _ in range(int(_number(tokens))):
                start_s = _number(tokens)
                end_s = _number(tokens) if kind == "IntervalTier" else start_s
                yield Interval(name, start_s, end_s, next(tokens)[1].replace('""', '"'))
    except (StopIteration, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ManifestError(
            f"`{path}` is not a TextGrid, or breaks off\n\nhint: save it in Praat as a text file"
        ) from error


def _text(path: Path) -> str:
    return decoded(read_bytes(path, ManifestError, "give a TextGrid", at_most=LARGEST_BYTES))


def decoded(content: bytes) -> str:
    """Text in UTF-16 with its mark, UTF-8, or the alphabet of old programs of Windows."""
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _number(tokens: Iterator[re.Match[str]]) -> float:
    return float(next(tokens)[2])
