"""Fonts with the characters that people type: emoji, and scripts that the usual font lacks.

DejaVu Sans, which comes with matplotlib, has Latin, Greek, Cyrillic, Arabic, Hebrew and some emoji. For others the
fonts of this machine are searched. What none has is a box in a picture, and is said once.
"""

import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.font_manager import FontEntry

logger = logging.getLogger(__name__)

USUAL = "DejaVu Sans"
BOXES = "Last Resort"
"""Beginning of the name of fonts that have a box for every character."""


def families_for(text: str) -> list[str]:
    """Families for a text in the order in which they are asked for a character, the usual one first."""
    return list(dict.fromkeys([USUAL, *(entry.name for entry in _fonts_of(text))]))


def file_for(text: str) -> Path:
    """The font that has the most characters of a text, for writers that take one font alone."""
    entries = (_usual(), *_fonts_of(text))
    files = {entry.fname: sum(_has(entry, character) for character in set(text)) for entry in entries}
    return Path(max(files, key=lambda file: files[file]))


def _fonts_of(text: str) -> "list[FontEntry]":
    """A font for each character that is drawn; those that no font here has are named, once."""
    characters = sorted(character for character in set(text) if character.isprintable() and not character.isspace())
    lacking = "".join(character for character in characters if _font_with(character) is None)
    if not _warned_of.issuperset(lacking):
        _warned_of.update(lacking)
        logger.warning("no font on this machine has %s: pictures show boxes, other results the letters", lacking)
    return [entry for entry in map(_font_with, characters) if entry is not None]


_warned_of: set[str] = set()


@cache
def _font_with(character: str) -> "FontEntry | None":
    """The first font that has a character; None where no font here has it."""
    from matplotlib.font_manager import fontManager

    others = (entry for entry in fontManager.ttflist if entry.style == "normal" and not entry.name.startswith(BOXES))
    for entry in (_usual(), *sorted(others, key=lambda entry: entry.fname)):
        if _has(entry, character):
            return entry
    return None


@cache
def _usual() -> "FontEntry":
    from matplotlib.font_manager import fontManager

    return next(entry for entry in fontManager.ttflist if (entry.name, entry.style) == (USUAL, "normal"))


@cache
def _has(entry: "FontEntry", character: str) -> bool:
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(entry.fname)
    except (OSError, RuntimeError):  # a font that was removed, or is damaged
        return False
    return bool(font.scalable and font.get_char_index(ord(character)))
