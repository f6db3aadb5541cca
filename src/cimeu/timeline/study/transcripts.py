"""Stretches of speech that somebody else cut: subtitles, Praat TextGrids, ELAN tiers and tables.

Sources: SubRip (`HH:MM:SS,mmm --> HH:MM:SS,mmm`); WebVTT (W3C).
"""

import html
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path

from cimeu.csv_files import read_csv
from cimeu.errors import ManifestError
from cimeu.reading import read_bytes
from cimeu.timeline import praat
from cimeu.timeline.annotations import TABLES, read_rows
from cimeu.times import seconds_of

logger = logging.getLogger(__name__)

SUBTITLES, ELAN = (".srt", ".vtt"), ".eaf"
KINDS = (*SUBTITLES, praat.SUFFIX, ELAN, *TABLES)
LARGEST_BYTES = 2**26
_SHOWN = 60
"""Letters of an utterance in a message."""
_TIMES = re.compile(r"(?<!\S)(-?[\d:.,]+)\s*-->\s*(-?[\d:.,]+)")
"""A file whose times were shifted may have some before 0."""
_VTT_NOTE = re.compile(r"(?m)(?:\A|^[ \t]*\n)NOTE(?:[ \t][^\n]*)?$(?:\n(?![ \t]*$)[^\n]+)*")
"""A comment is a block of its own; a line of a cue may begin with the same word."""
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s([^<>]*)>")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_VTT_TAG = re.compile(r"<[^>]*>")
_SRT_TAG = re.compile(
    r"</?(?:[bciusv]|font|em|strong|ruby|rt)(?:[\s.][^<>]*)?>|<\d[\d:.]*>|\{\\[^{}]*\}", re.IGNORECASE
)
"""Others, such as `<laughs>`, are words: SubRip knows no escape for them."""


@dataclass(frozen=True)
class Utterance:
    """A stretch of time with what was said."""

    tier: str
    """Speaker, or tier of the file; empty where the file names none."""
    start_s: float
    end_s: float
    text: str


def read_utterances(path: Path, tier: str | None = None) -> list[Utterance]:
    """Stretches with words, in order of time; those without words are silence and are left out, and so are those that
    do not end after they start, with a warning.

    Args:
        path: `.srt`, `.vtt`, `.TextGrid`, `.eaf`, or a table with `start_s`, `end_s` and `text` (or `label`).
        tier: the only tier that counts; by default all do.

    Raises:
        ManifestError: another format, a damaged file, no such tier, or nothing was said.
    """
    suffix = path.suffix.lower()
    if suffix in SUBTITLES:
        utterances = list(_subtitles(_text(path), path))
    elif suffix == praat.SUFFIX.lower():
        utterances = [Utterance(*interval) for interval in praat.read_textgrid(path)]
    elif suffix == ELAN:
        utterances = [Utterance(row.tier, row.start_s, row.end_s, row.label) for row in read_rows(path)]
    elif suffix in TABLES:
        utterances = list(_table(path))
    else:
        raise ManifestError(f"`{path.name}` holds no utterances that can be read\n\nhint: one of {', '.join(KINDS)}")
    tiers = dict.fromkeys(utterance.tier for utterance in utterances)
    if tier is not None and tier not in tiers:
        raise ManifestError(
            f"`{path}` has no tier `{tier}`\n\nhint: its tiers are {', '.join(map(repr, tiers)) or 'none'}"
        )
    worded = [utterance for utterance in utterances if utterance.text.strip() and tier in (None, utterance.tier)]
    spoken = [utterance for utterance in worded if utterance.end_s > utterance.start_s >= 0]
    if not spoken:
        raise ManifestError(f"`{path}` holds no stretch with words\n\nhint: give a transcript with times")
    if len(spoken) < len(worded):
        wrong = next(one for one in worded if not one.end_s > one.start_s >= 0)
        logger.warning(
            "`%s`: %d of %d stretches with words are left out, such as `%s` from %g to %g s",
            path,
            len(worded) - len(spoken),
            len(worded),
            wrong.text[:_SHOWN],
            wrong.start_s,
            wrong.end_s,
        )
    return sorted(spoken, key=lambda utterance: (utterance.start_s, utterance.end_s, utterance.tier))


def _text(path: Path) -> str:
    return praat.decoded(read_bytes(path, ManifestError, "give a transcript with times", at_most=LARGEST_BYTES))


def _subtitles(text: str, path: Path) -> Iterator[Utterance]:
    """Cues of SubRip and WebVTT; `<v Anna>` names who speaks."""
    is_vtt = path.suffix.lower() == ".vtt"
    # Some programs end every line with two returns.
    text = text.replace("\r\r\n", "\n").replace("\r\n", "\n").replace("\r", "\n")
    lines = (_VTT_NOTE.sub("\n", text) if is_vtt else text).split("\n")
    # Cues begin at their times: many files lack the empty line between two, and some have one inside.
    places = [place for place, line in enumerate(lines) if _TIMES.search(line)]
    above = [line.strip() for line in lines[: places[0]] if line.strip()] if places else []
    is_numbered = bool(above) and above[-1].isdigit()
    for place, following in pairwise([*places, len(lines)]):
        times = _TIMES.search(lines[place])
        assert times is not None
        start_s, end_s = map(_signed, times.groups())
        if start_s is None or end_s is None:
            raise ManifestError(
                f"`{path}` has the times `{lines[place]}`\n\nhint: such as 00:00:01,500 --> 00:00:03,000"
            )
        spoken = lines[place + 1 : following]
        if is_numbered and following < len(lines):
            _drop_number(spoken)
        if is_vtt:  # where an empty line ends the cue, and a name may stand in front of the next one
            spoken = list(takewhile(str.strip, spoken))
        words = _BREAK.sub(" ", " ".join(spoken))
        voice = _VOICE.search(words)
        plain = html.unescape(_VTT_TAG.sub("", words)) if is_vtt else _SRT_TAG.sub("", words)
        yield Utterance(voice[1].strip() if voice else "", start_s, end_s, " ".join(plain.split()))


def _drop_number(lines: list[str]) -> None:
    """Take off the number of the next cue, and the empty lines around it."""
    while lines and not lines[-1].strip():
        lines.pop()
    if lines and lines[-1].strip().isdigit():
        lines.pop()


def _signed(text: str) -> float | None:
    time_s = seconds_of(text.removeprefix("-"))
    return -time_s if time_s is not None and text.startswith("-") else time_s


def _table(path: Path) -> Iterable[Utterance]:
    table = read_csv(path)
    table.need("start_s", "end_s", "text" if "text" in table.columns or "label" not in table.columns else "label")
    words = table.frame["text" if "text" in table.columns else "label"]
    names = table.frame[next((name for name in ("tier", "person") if name in table.columns), words.name)]
    has_names = names.name != words.name
    times = zip(table.numbers("start_s"), table.numbers("end_s"), strict=True)
    for (start_s, end_s), name, text in zip(times, names, words, strict=True):
        yield Utterance(name if has_names else "", float(start_s), float(end_s), text)
