"""From sums to the tables of a study: a row per participant and condition, means over participants, curves.

A participant counts once, whatever the number of windows, so intervals say how far figures would move with other
participants. Columns and their meaning are one list: the data dictionary cannot forget one.

Axes: P participants, K emotions, M measures (scores, then continuous labels), B bins of time around an event.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cimeu.evaluation.uncertainty import MeansOverPeople, holm, mean_over_people
from cimeu.timeline.segments import CONTINUOUS_CAUTION
from cimeu.timeline.series import COLUMNS, SCORE, SCORE_MEANING, VALUE, value_meanings
from cimeu.timeline.study.inputs import WHOLE, Participants
from cimeu.timeline.study.recordings import Measures, Recording
from cimeu.timeline.study.tally import EventSums, Tally

OWN_MEAN = ""
"""The baseline where no condition is named: the participant's own mean over all of their recordings."""
Key = tuple[str, str]
"""Participant and condition."""


@dataclass(frozen=True)
class Column:
    """A column of the data dictionary."""

    file: str
    name: str
    description: str
    unit: str = ""


@dataclass(frozen=True)
class StudyTables:
    """What is written."""

    participants: pd.DataFrame
    conditions: pd.DataFrame
    curves: pd.DataFrame
    dictionary: tuple[Column, ...]


@dataclass(frozen=True)
class Study:
    """What was collected, and what was left out."""

    recordings: tuple[Recording, ...]
    tables: StudyTables
    conditions: tuple[str, ...]
    baseline: str
    left_out: tuple[str, ...]
    """What is missing or not part of the tables, in words."""
    missing_files: int
    """Files of the tables that have no results."""


def make_tables(
    tallies: Mapping[Key, Tally],
    events: Mapping[Key, EventSums],
    people: Participants,
    measures: Measures,
    conditions: Sequence[str],
    baseline: str,
) -> StudyTables:
    """Tables of a study.

    Args:
        tallies: by participant and condition.
        events: sums around events, likewise.
        people: what is known of participants.
        measures: emotions and continuous labels.
        conditions: in the order of the tables, without the whole.
        baseline: condition that differences are taken from, or `OWN_MEAN`.
    """
    listed = [WHOLE, *conditions]
    participants = _participants(tallies, people, measures, listed, baseline)
    dictionary = (
        *_dictionary_of_rows(people, measures),
        *_dictionary_of_participants(people, measures, baseline),
        *_dictionary_of_conditions(measures, baseline),
        *(_dictionary_of_curves(measures) if events else ()),
    )
    curves = _curves(events, measures, conditions)
    return StudyTables(participants, _conditions(participants, measures, listed, baseline), curves, dictionary)


def _participants(
    tallies: Mapping[Key, Tally], people: Participants, measures: Measures, listed: Sequence[str], baseline: str
) -> pd.DataFrame:
    rows = []
    absent = {assignment.participant for _, assignment in people.without_results}
    for participant in sorted({name for name, _ in tallies} | absent):
        base = tallies.get((participant, baseline or WHOLE))
        for condition in listed:
            tally = tallies.get((participant, condition))
            # Who never was in a condition has no row in it; who has no results at all has one, empty: missing is not
            # zero.
            if tally is None and (condition != WHOLE or participant not in absent):
                continue
            tally = tally or Tally(len(measures.emotions), len(measures.scales))
            row: dict[str, object] = {"participant": participant, "condition": condition}
            row |= people.attributes_of(participant) if people.columns else {}
            # All recordings hold the baseline, so a difference of theirs would be one of a part to its whole.
            has_difference = condition not in (WHOLE, baseline)
            rows.append(row | _row(tally, measures, base if has_difference else None))
    columns = [column.name for column in _dictionary_of_participants(people, measures, baseline)]
    return pd.DataFrame(rows, columns=columns)


def _row(tally: Tally, measures: Measures, base: Tally | None) -> dict[str, object]:
    """Numbers of one participant in one condition; `base` is what differences are taken from."""
    # Shares of no time are not numbers.
    whole_s = tally.duration_s or np.nan
    scored_s = float(tally.label_s.sum()) + tally.abstained_s
    difference = np.full(len(measures.names), np.nan) if base is None else tally.mean - base.mean
    row: dict[str, object] = {
        "n_recordings": len(tally.recordings),
        "duration_s": round(tally.duration_s, 3),
        "share.scored": scored_s / whole_s,
        "share.abstained": tally.abstained_s / whole_s,
        "share.unscored": tally.unscored_s / whole_s,
        "share.absent": tally.absent_s / whole_s,
        "share.unlike": tally.n_unlike / tally.n_windows if tally.n_windows else np.nan,
        "n_windows": tally.n_windows,
    }
    for name, measured, values in (
        ("share", measures.emotions, tally.label_s / whole_s),
        ("mean", measures.names, tally.mean),
        ("sd", measures.names, tally.sd),
        ("difference", measures.names, difference),
    ):
        row |= {f"{name}.{measure}": value for measure, value in zip(measured, values.tolist(), strict=True)}
    return row


def _conditions(participants: pd.DataFrame, measures: Measures, listed: Sequence[str], baseline: str) -> pd.DataFrame:
    """Means over participants with intervals, a row per condition and measure."""
    parts = {"share": "share", "mean": "score", "difference": "difference"}
    rows = []
    for condition in listed:
        values = participants[participants["condition"] == condition]
        means = {
            name: mean_over_people(values.reindex(columns=[f"{part}.{m}" for m in measures.names]).to_numpy(float))
            for part, name in parts.items()
        }
        for number, emotion in enumerate(measures.names):
            row: dict[str, object] = {"condition": condition, "emotion": emotion}
            row["n_participants"] = int(means["score"].n_people[number])
            for name, estimate in means.items():
                row |= _interval(name, estimate, number)
            row["difference_n"] = int(means["difference"].n_people[number])
            row["difference_p"] = means["difference"].p[number]
            rows.append(row)
    table = pd.DataFrame(rows)
    tested = table["difference_p"].notna()
    # Over all conditions and emotions of the table: these are the tests that a reader looks through.
    adjusted = holm({str(place): float(p) for place, p in table["difference_p"][tested].items()})
    table["difference_p_holm"] = [adjusted.get(str(place), np.nan) for place in table.index]
    return table[[column.name for column in _dictionary_of_conditions(measures, baseline)]]


def _curves(events: Mapping[Key, EventSums], measures: Measures, conditions: Sequence[str]) -> pd.DataFrame:
    """Mean curves over participants around events, a row per condition, measure and bin."""
    parts = []
    for condition in conditions:
        sums = [of_events for (_, name), of_events in events.items() if name == condition]
        if not sums:
            continue
        offsets_s = sums[0].grid.offsets_s
        # First each participant's mean over events, then the mean over participants: someone with many events weighs no
        # more.
        means = mean_over_people(np.stack([sums_of_person.means.ravel() for sums_of_person in sums]))
        n_events = sum(sums_of_person.n_events for sums_of_person in sums)
        shape = (len(offsets_s), len(measures.names))
        columns = {
            "score": means.value,
            "score_low": means.low,
            "score_high": means.high,
            "n_participants": means.n_people,
        }
        for number, emotion in enumerate(measures.names):
            part = {name: values.reshape(shape)[:, number] for name, values in columns.items()}
            fixed = {"condition": condition, "emotion": emotion, "offset_s": np.round(offsets_s, 3)}
            parts.append(pd.DataFrame(fixed | part | {"n_events": n_events}))
    names = [column.name for column in _dictionary_of_curves(measures)]
    return pd.concat(parts)[names] if parts else pd.DataFrame(columns=names)


def _interval(name: str, means: MeansOverPeople, number: int) -> dict[str, float]:
    values = {name: means.value, f"{name}_low": means.low, f"{name}_high": means.high}
    return {column: float(numbers[number]) for column, numbers in values.items()}


def _dictionary_of_rows(people: Participants, measures: Measures) -> Iterable[Column]:
    """Of `series.parquet` and `segments.csv`."""
    recording = "place of the recording below the folder of results, without suffix"
    participant = "participant whose lane this is; empty where the table of participants names nobody"
    for file in ("series.parquet", "segments.csv"):
        yield Column(file, "recording", recording)
        yield Column(file, "participant", participant)
    for column in people.columns:
        yield Column("segments.csv", column, "as in the table of participants")
    for name, meaning in COLUMNS.items():
        yield Column("series.parquet", name, meaning, "s" if name.endswith("_s") else "")
    segments = {
        "person": "lane of the recording",
        "start_s": "start of the segment",
        "end_s": "end of the segment",
        "label": "emotion; empty where none is named",
        "confidence": "score of the likeliest emotion, smoothed; empty where there are none",
        "abstain": "true where the model gave scores and no emotion is named",
        "modality": COLUMNS["modality"],
        "reason": "why no emotion is named, or what was missing",
        "unlike_training": "whether the windows are unlike the training clips; empty where that was not measured",
    }
    for name, meaning in segments.items():
        yield Column("segments.csv", name, meaning, "s" if name.endswith("_s") else "")
    for emotion in measures.emotions:
        yield Column("series.parquet", f"{SCORE}{emotion}", SCORE_MEANING.format(emotion=emotion), "probability")
        yield Column("segments.csv", f"{SCORE}{emotion}", f"mean probability of {emotion}, smoothed", "probability")
    for name, meaning in value_meanings(measures.scales).items():
        yield Column("series.parquet", f"{VALUE}{name}", meaning, _unit(measures, name))


def _dictionary_of_participants(people: Participants, measures: Measures, baseline: str) -> Iterable[Column]:
    base, emotions = _baseline_words(baseline), measures.emotions
    columns = [
        ("participant", "participant", ""),
        ("condition", f"condition of the table of events; {WHOLE}: all of the participant's recordings", ""),
        *((column, "as in the table of participants", "") for column in people.constant_columns),
        ("n_recordings", "recordings that count here", ""),
        ("duration_s", "length of the condition, whatever is known of it", "s"),
        ("share.scored", "share of that time in which the model gave scores", "share of duration_s"),
        ("share.abstained", "share in which it gave scores and no emotion is named", "share of duration_s"),
        (
            "share.unscored",
            "share in which the participant was followed and nothing could be scored",
            "share of duration_s",
        ),
        ("share.absent", "share in which the participant was neither seen nor heard", "share of duration_s"),
        ("share.unlike", "share of windows with scores that are unlike the training clips", "share of n_windows"),
        ("n_windows", "windows with scores; neighbours overlap, so they are not independent", ""),
        *(
            (f"share.{e}", f"share of the time labelled {e}; all shares of time sum to 1", "share of duration_s")
            for e in emotions
        ),
        *(
            (f"mean.{e}", f"mean score of {e} over windows with scores; nothing is filled in", "probability")
            for e in emotions
        ),
        *(
            (f"mean.{v}", f"mean {v} over windows in which it could be read; {CONTINUOUS_CAUTION}", _unit(measures, v))
            for v in measures.scales
        ),
        *((f"sd.{e}", f"standard deviation of the score of {e} over windows", "probability") for e in emotions),
        *((f"sd.{v}", f"standard deviation of {v} over windows", _unit(measures, v)) for v in measures.scales),
        *((f"difference.{m}", f"mean.{m} minus that of {base}", _unit(measures, m)) for m in measures.names),
    ]
    return [Column("participants.csv", *column) for column in columns]


def _dictionary_of_conditions(measures: Measures, baseline: str) -> Iterable[Column]:
    base = _baseline_words(baseline)
    ends = "end of its 95 % interval (bootstrap over participants)"
    columns = [
        ("condition", f"condition of the table of events; {WHOLE}: all recordings"),
        ("emotion", _emotion_words(measures)),
        ("n_participants", "participants with scores in this condition"),
        *((f"score{end}", f"{words} of the participants' mean scores") for end, words in _ends("mean", ends)),
        *(
            (f"share{end}", f"{words} of the participants' shares of time with this label")
            for end, words in _ends("mean", ends)
        ),
        *(
            (f"difference{end}", f"{words} of the participants' differences to {base}")
            for end, words in _ends("mean", ends)
        ),
        ("difference_n", "participants with scores in both"),
        ("difference_p", "two-sided bootstrap p-value of no difference"),
        ("difference_p_holm", "the same, adjusted for all differences of this table (Holm)"),
    ]
    return [Column("conditions.csv", *column) for column in columns]


def _dictionary_of_curves(measures: Measures) -> Iterable[Column]:
    ends = "end of its 95 % interval (bootstrap over participants)"
    columns = [
        ("condition", "condition of the table of events", ""),
        ("emotion", _emotion_words(measures), ""),
        ("offset_s", "time from the start of the event", "s"),
        *(
            (f"score{end}", f"{words} of the participants' mean scores there", _unit_of_scores(measures))
            for end, words in _ends("mean", ends)
        ),
        ("n_participants", "participants with scores there", ""),
        ("n_events", "events of all participants", ""),
    ]
    return [Column("curves.csv", *column) for column in columns]


def _unit(measures: Measures, name: str) -> str:
    if name not in measures.scales:
        return "probability"
    low, high = measures.scale(name)
    return f"from {low:g} to {high:g}"


def _unit_of_scores(measures: Measures) -> str:
    """Of a column that holds every measure."""
    return "probability" + "".join(f"; {name}: {_unit(measures, name)}" for name in measures.scales)


def _emotion_words(measures: Measures) -> str:
    """What a column says that names the measure of a row."""
    if not measures.scales:
        return "emotion"
    named = ", ".join(f"{name} ({_unit(measures, name)})" for name in measures.scales)
    return f"emotion, whose score it is, or a continuous label: {named}; {CONTINUOUS_CAUTION}"


def _ends(value: str, end: str) -> list[tuple[str, str]]:
    return [("", value), ("_low", f"lower {end}"), ("_high", f"upper {end}")]


def _baseline_words(baseline: str) -> str:
    return f"the participant's own `{baseline}`" if baseline else "the participant's own mean over all recordings"
