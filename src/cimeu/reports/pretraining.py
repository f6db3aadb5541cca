"""What encoders may have met of the tested corpora in their own training, for the tables of runs and of benches."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cimeu.encoders.pretraining import ALL_DATA_NAMED, Knowledge, knowledge_of, known_of


def encoders_of(streams: Iterable[Mapping[str, Any] | None]) -> tuple[str, ...]:
    """Names of the encoders of a recipe's streams, as `cimeu.encoders.pretraining` has them."""
    return tuple(_encoder_name(stream) for stream in streams if stream)


def marks_of(encoders: tuple[str, ...], corpora: Mapping[str, Iterable[str]]) -> dict[str, Knowledge]:
    """What encoders that are used together may know of each group, by its corpora: what one has seen, all have.

    Nothing where no encoder is known.
    """
    order: tuple[Knowledge, ...] = ("seen", "unknown", "unseen")
    return {
        group: min((known_of(encoders, corpus) for corpus in names), key=order.index)
        for group, names in (corpora.items() if encoders else ())
    }


def unseen_among(marks: Mapping[str, Knowledge]) -> list[str]:
    """Groups that were surely unseen; empty where all were, or none: a mean over them would say nothing new."""
    unseen = [group for group, mark in marks.items() if mark == "unseen"]
    return unseen if len(unseen) < len(marks) else []


def knowledge_in_words(encoders: Sequence[str], corpora: Sequence[str]) -> str:
    """What each encoder may know of the tested corpora, and why."""
    if not encoders:
        return "encoders not noted"
    return "the tested corpora are, to " + "; to ".join(f"{name}, {_in_words(name, corpora)}" for name in encoders)


def marks_in_words(marks: Mapping[str, Knowledge]) -> str:
    """The marks of groups in a cell of a table.

    >>> marks_in_words({"german": "unseen", "english": "unknown", "urdu": "unseen"})
    'unknown: english; unseen: german, urdu'
    >>> marks_in_words({"german": "unseen", "urdu": "unseen"})
    'unseen'
    """
    if len(set(marks.values())) < 2:
        return "".join(set(marks.values()))
    groups: dict[Knowledge, list[str]] = {}
    for group in sorted(marks):
        groups.setdefault(marks[group], []).append(group)
    return "; ".join(f"{mark}: {', '.join(groups[mark])}" for mark in sorted(groups))


def _in_words(encoder: str, corpora: Sequence[str]) -> str:
    reasons = {
        "unseen": "unseen (never trained, or all of its data is named without these corpora)",
        "unknown": "unknown (its authors do not name all of its data)",
        "seen": "SEEN (it was fine-tuned on them)",
    }
    if encoder in ALL_DATA_NAMED:
        reasons["unknown"] = "unknown (its data and these corpora were gathered from the same kind of place)"
    marks = {corpus: knowledge_of(encoder, corpus) for corpus in corpora}
    several = [mark for mark in reasons if mark in marks.values()]
    if len(several) == 1:
        return reasons[several[0]]
    return ", ".join(
        f"{reasons[mark]}: {' and '.join(name or 'corpus without a name' for name in corpora if marks[name] == mark)}"
        for mark in several
    )


def _encoder_name(stream: Mapping[str, Any]) -> str:
    settings = stream.get("settings", {})
    hub = str(stream.get("encoder")).startswith("hub-") and settings.get("weights")
    return str(settings.get("preset") or (Path(hub).name if hub else stream.get("encoder")))
