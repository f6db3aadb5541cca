"""One answer for each stretch of a transcript: emotion beside what was said.

The scores of an utterance are the mean over its windows, weighted by the time that each shares with it, under the same
thresholds as the segments. A window listens a second beyond the stretch that it stands for, so the answer to a short
utterance owes something to its neighbours.

Axes: N windows, K emotions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cimeu.atomic import write_whole
from cimeu.csv_files import csv_text
from cimeu.errors import ManifestError
from cimeu.timeline.segments import CONTINUOUS_CAUTION, UNLIKE, UNSURE
from cimeu.timeline.series import SCORE, SUFFIX, VALUE
from cimeu.timeline.study.recordings import Measures, Windows, lanes_of, read_recording, read_table
from cimeu.timeline.study.transcripts import Utterance, read_utterances

COLUMNS = ("tier", "start_s", "end_s", "text", "person", "label", "confidence", "abstain", "reason", "share.scored")

OUTSIDE, NOBODY_THERE = "after the end of the recording", "nobody is seen or heard"
"""Reasons of an utterance of which no lane says anything."""


@dataclass(frozen=True)
class Answer:
    """What the model says of one person during one utterance."""

    utterance: Utterance
    person: str
    """Empty where there is nobody."""
    label: str
    abstain: bool
    reason: str
    scores: tuple[float, ...] | None
    """Mean over the windows; None where there are none."""
    share_scored: float
    """Share of the utterance with scores."""
    values: tuple[float | None, ...] = ()
    """Mean of each continuous label over the windows that have it; empty where the model has none."""

    @property
    def confidence(self) -> float | None:
        return None if self.scores is None else max(self.scores)


def answer_utterances(series: Path, transcript: Path, tier: str | None = None) -> tuple[Measures, list[Answer]]:
    """Emotions and continuous labels of the model, and an answer for each utterance and each person who is there; one
    without a person where nobody is.

    Raises:
        ManifestError: a file that is damaged or of another kind, no such tier, or times that do not meet.
    """
    if not series.name.endswith(SUFFIX):
        raise ManifestError(f"`{series}` is not a series\n\nhint: give `NAME{SUFFIX}` of `cimeu predict`")
    recording = read_recording(series.name.removesuffix(SUFFIX), series)
    lanes = lanes_of(read_table(recording), recording)
    settings = recording.header["settings"]
    utterances = read_utterances(transcript, tier)
    answers = []
    for utterance in utterances:
        in_lanes = [_answer(utterance, person, lane, recording.emotions, settings) for person, lane in lanes.items()]
        # Each has a row: a table that leaves out sentences looks complete.
        is_outside = utterance.start_s >= recording.duration_s
        nobody = Answer(utterance, "", "", False, OUTSIDE if is_outside else NOBODY_THERE, None, 0.0)
        answers += [answer for answer in in_lanes if answer is not None] or [nobody]
    if not any(answer.person for answer in answers):
        raise ManifestError(
            f"no utterance of `{transcript}` lies in `{series}`\n\nhint: are both about the same recording?"
        )
    return recording.measures, answers


def write_answers(measures: Measures, answers: Iterable[Answer], path: Path) -> Path:
    """Write a table, a row per utterance and person.

    Raises:
        OutputError: a file of this name is not ours to replace.
    """
    scores, values = (f"{SCORE}{emotion}" for emotion in measures.emotions), (f"{VALUE}{v}" for v in measures.scales)
    rows: list[list[object]] = [[*COLUMNS, *scores, *values]]
    for answer in answers:
        utterance = answer.utterance
        row: list[object] = [
            utterance.tier,
            utterance.start_s,
            utterance.end_s,
            utterance.text,
            answer.person,
            answer.label,
            answer.confidence,
        ]
        row += [answer.abstain, answer.reason, round(answer.share_scored, 4)]
        nothing = [None] * len(measures.emotions), [None] * len(measures.scales)
        rows.append([*row, *(answer.scores or nothing[0]), *(answer.values or nothing[1])])
    caution = f"# {', '.join(measures.scales)}: {CONTINUOUS_CAUTION}\n" if measures.scales else ""
    return write_whole(path, caution + csv_text(rows), "utterances")


def _answer(
    utterance: Utterance, person: str, lane: Windows, emotions: Sequence[str], settings: dict[str, float]
) -> Answer | None:
    """The answer for one person, or None where they are not there."""
    shared_s = np.clip(np.minimum(lane.end_s, utterance.end_s) - np.maximum(lane.start_s, utterance.start_s), 0, None)
    if not shared_s.any():
        return None
    weights = np.where(lane.has_scores, shared_s, 0.0)
    share_scored = float(weights.sum()) / (utterance.end_s - utterance.start_s)
    if not weights.any():
        return Answer(utterance, person, "", False, "nothing could be scored", None, 0.0)
    mean = weights @ np.where(lane.has_scores[:, None], lane.scores, 0.0) / weights.sum()
    is_unlike = bool(settings.get("abstain_unlike", 1.0)) and float(weights[lane.unlike].sum()) > weights.sum() / 2
    is_unsure = mean.max() < settings["abstain_below"]
    label = "" if is_unlike or is_unsure else emotions[int(mean.argmax())]
    reason = UNLIKE if is_unlike else UNSURE if is_unsure else ""
    scores = tuple(round(float(score), 4) for score in mean)
    values = _values(lane, weights)
    return Answer(utterance, person, label, not label, reason, scores, min(1.0, share_scored), values)


def _values(lane: Windows, weights: Float[np.ndarray, " N"]) -> tuple[float | None, ...]:
    """Continuous labels, weighted like the scores; a window that lacks one does not count for it."""
    means: list[float | None] = []
    for column in lane.values.T:
        own = np.where(np.isfinite(column), weights, 0.0)
        means.append(round(float(own @ np.nan_to_num(column) / own.sum()), 4) if own.any() else None)
    return tuple(means)
