"""Stretches of speech that somebody else cut: subtitles, Praat TextGrids, ELAN tiers and tables.

Sources: SubRip (`HH:MM:SS,mmm --> HH:MM:SS,mmm`); WebVTT (W3C); Praat's manual, "TextGrid file formats" (long and
short text form, UTF-8 or UTF-16).
"""

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cimeu.csv_files import read_csv
from cimeu.errors import ManifestError
from cimeu.reading import read_bytes
from cimeu.timeline.annotations import TABLES, read_rows
from cimeu.times import seconds_of

SUBTITLES, PRAAT, ELAN = (".srt", ".vtt"), ".textgrid", ".eaf"
KINDS = (*SUBTITLES, ".TextGrid", ELAN, *TABLES)
LARGEST_BYTES = 2**26
_TIMES = re.compile(r"(?<!\S)([\d:.,]+)\s*-->\s*([\d:.,]+)")
_VOICE = re.compile(r"<v(?:\.[^ >]*)?\s+([^>]*)>")
_TAG = re.compile(r"<[^>]*>")
_PRAAT_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?:\[\d*\]|![^\n]*)|([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)|(<exists>)')
"""Texts, numbers and the flag are what counts; numbers in brackets and comments (`!`) are for people."""


@dataclass(frozen=True)
class Utterance:
    """A stretch of time with what was said."""

    tier: str
    """Speaker, or tier of the file; empty where the file names none."""
    start_s: float
    end_s: float
    text: str


def read_utterances(path: Path, tier: str | None = None) -> list[Utterance]:
    """Stretches with words, in order of time; those without words are silence and are left out.

    Args:
        path: `.srt`, `.vtt`, `.TextGrid`, `.eaf`, or a table with `start_s`, `end_s` and `text` (or `label`).
        tier: the only tier that counts; by default all do.

    Raises:
        ManifestError: another format, a damaged file, no such tier, or nothing was said.
    """
    suffix = path.suffix.lower()
    if suffix in SUBTITLES:
        utterances = list(_subtitles(_text(path), path))
    elif suffix == PRAAT:
        utterances = list(_textgrid(_text(path), path))
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
    spoken = [
        utterance
        for utterance in utterances
        if utterance.text.strip() and utterance.end_s > utterance.start_s >= 0 and tier in (None, utterance.tier)
    ]
    if not spoken:
        raise ManifestError(f"`{path}` holds no stretch with words\n\nhint: give a transcript with times")
    return sorted(spoken, key=lambda utterance: (utterance.start_s, utterance.end_s, utterance.tier))


def _text(path: Path) -> str:
    content = read_bytes(path, ManifestError, "give a transcript with times", at_most=LARGEST_BYTES)
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")  # old subtitles of Windows


def _subtitles(text: str, path: Path) -> Iterator[Utterance]:
    """Blocks of SubRip and WebVTT; `<v Anna>` names who speaks."""
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.strip().split("\n")
        place = next((number for number, line in enumerate(lines) if _TIMES.search(line)), None)
        if place is None or lines[0].startswith("NOTE"):
            continue
        times = _TIMES.search(lines[place])
        assert times is not None
        start_s, end_s = (seconds_of(time) for time in times.groups())
        if start_s is None or end_s is None:
            raise ManifestError(
                f"`{path}` has the times `{lines[place]}`\n\nhint: such as 00:00:01,500 --> 00:00:03,000"
            )
        words = " ".join(lines[place + 1 :])
        voice = _VOICE.search(words)
        plain = html.unescape(_TAG.sub("", words)) if path.suffix.lower() == ".vtt" else _TAG.sub("", words)
        yield Utterance(voice[1].strip() if voice else "", start_s, end_s, " ".join(plain.split()))


def _textgrid(text: str, path: Path) -> Iterator[Utterance]:
    """Interval tiers, long or short: after the header both are the same numbers and texts in quotes."""
    tokens = (token for token in _PRAAT_TOKEN.finditer(text) if token.lastindex)
    try:
        if [next(tokens)[1], next(tokens)[1]] != ["ooTextFile", "TextGrid"]:
            raise ValueError("no TextGrid")
        _number(tokens), _number(tokens), next(tokens)
        for _ in range(int(_number(tokens))):
            kind, name = next(tokens)[1], next(tokens)[1].replace('""', '"')
            _number(tokens), _number(tokens)
            for _ in range(int(_number(tokens))):
                start_s = _number(tokens)
                end_s = _number(tokens) if kind == "IntervalTier" else start_s
                yield Utterance(name, start_s, end_s, next(tokens)[1].replace('""', '"'))
    except (StopIteration, ValueError, TypeError, AttributeError) as error:
        raise ManifestError(
            f"`{path}` is not a TextGrid, or breaks off\n\nhint: save it in Praat as a text file"
        ) from error


def _number(tokens: Iterator[re.Match[str]]) -> float:
    return float(next(tokens)[2])


def _table(path: Path) -> Iterable[Utterance]:
    table = read_csv(path)
    table.need("start_s", "end_s", "text" if "text" in table.columns or "label" not in table.columns else "label")
    words = table.frame["text" if "text" in table.columns else "label"]
    names = table.frame[next((name for name in ("tier", "person") if name in table.columns), words.name)]
    has_names = names.name != words.name
    times = zip(table.numbers("start_s"), table.numbers("end_s"), strict=True)
    for (start_s, end_s), name, text in zip(times, names, words, strict=True):
        yield Utterance(name if has_names else "", float(start_s), float(end_s), text)
