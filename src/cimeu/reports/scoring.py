"""Score the predictions of any system by the same rules: a manifest says what is true, a table what was said.

The table has `clip_id` and either `label` or one column of probabilities per emotion (plain, or `fused.<emotion>` as a
run writes them; rows of another `part` than `test` are left out). Every clip of the manifest counts: one that the table
lacks, or answers with nothing, is wrong.

Axes: N clips, K emotions.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from unicodedata import normalize

import numpy as np
import pandas as pd
from jaxtyping import Float

from cimeu.atomic import check_free, write_whole
from cimeu.corpora.manifest import Manifest, read_manifest
from cimeu.corpora.paths import clip_id_of
from cimeu.corpora.training_record import TRAINED_ON, check_unseen, training_record, with_contents
from cimeu.csv_files import read_csv
from cimeu.errors import ManifestError, RecipeError, listed
from cimeu.evaluation.calibration import expected_calibration_error
from cimeu.evaluation.metrics import METRICS, UNUSED, Metric, predicted_labels
from cimeu.evaluation.predictions import PROBABILITY, UNKNOWN, Predictions
from cimeu.evaluation.uncertainty import Estimates, compared
from cimeu.labels import KNOWN_EMOTIONS, LabelSpace, canonical, label_space
from cimeu.plots.pages import tables_page
from cimeu.reading import is_there
from cimeu.reports.verdict import against_chance
from cimeu.tables import MISSING, Interval, Table, interval_of, percent, span, to_csv
from cimeu.timeline.segments import USE_LIMITS

NAMES: dict[Metric, str] = {"uar": "UAR", "war": "WAR", "macro_f1": "macro F1", "weighted_f1": "weighted F1"}
LABEL = "label"


@dataclass(frozen=True, kw_only=True)
class Score:
    """Figures from 0 to 1, ready for JSON."""

    predictions: str
    manifest: str
    group: str
    emotions: tuple[str, ...]
    n_clips: int
    n_missing: int
    n_ignored: int
    n_outside: int = 0
    """Clips of the manifest that show another emotion than the label space has: left out."""
    outside: tuple[str, ...] = ()
    """Those emotions."""
    missing: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    n_speakers: int
    speakers_known: bool
    mean: Mapping[str, Interval]
    """Unweighted mean over groups, by metric."""
    groups: Mapping[str, Mapping[str, Interval]]
    clips: Mapping[str, int]
    """Clips of each group."""
    recalls: Mapping[str, float]
    calibration_error: float | None
    against: str = ""
    n_missing_against: int = 0
    missing_against: tuple[str, ...] = ()
    """Clips that the other system has no answer for."""
    difference: Mapping[str, Interval] | None = None
    """This one minus the other, on the same clips and draws."""
    p: Mapping[str, float] | None = None
    improved: Mapping[str, int] | None = None
    """Groups in which it is above zero."""


def score_predictions(
    predictions: Path,
    manifest: Path,
    *,
    against: Path | None = None,
    labels: str | Sequence[str] | None = None,
    group: str = "culture",
    trained_on: Path | None = None,
) -> Score:
    """Score one table, and compare it with another on the same clips.

    Args:
        predictions: table of the system.
        manifest: table of the clips that are tested.
        against: table of another system, subtracted.
        labels: label space; by default the emotions of the table's probabilities, or those of the manifest.
        group: column whose groups are averaged; clips without one form the group `unknown`.
        trained_on: manifest of the clips that the system was trained on, or its run folder; by default that of the
            predictions.

    Raises:
        FoldLeak: an answered clip was trained on, by its content.
        ManifestError: no such manifest or group, or no clip of it is in the label space.
        RecipeError: a table is missing, has no answers, or answers a clip twice.
        UnknownLabel: a label that the label space lacks.
    """
    clips = read_manifest(manifest)
    table = read_predictions(predictions)
    space = label_space(labels or _emotions_of(table) or sorted(set(clips.table["emotion"]) - {""}))
    ignored = _not_in(table, clips)
    listed, clips = clips, _of_space(clips, space)
    outside = listed.table["emotion"][~listed.table["emotion"].isin(["", *space])]
    if group not in clips.table.columns:
        raise ManifestError(f"manifest without a column `{group}`\n\nhint: one of {', '.join(clips.table.columns)}")
    answered = answers(table, clips, space, predictions, group)
    _check_trained(clips.select(list(clips.table["clip_id"][~answered.unused])), predictions, trained_on)
    estimates = answered.estimates()
    score = replace(
        _score_of(answered, estimates, ignored=ignored, paths=(predictions, manifest), group=group),
        n_outside=len(outside),
        outside=tuple(sorted(set(outside))),
    )
    if against is None:
        return score
    answered_by_other = answers(read_predictions(against), clips, space, against, group)
    missing_against = tuple(clips.table["clip_id"][answered_by_other.unused])
    other = answered_by_other.estimates()
    differences = {metric: compared(other[metric], estimates[metric]) for metric in METRICS}
    return replace(
        score,
        against=str(against),
        n_missing_against=len(missing_against),
        missing_against=missing_against,
        difference={metric: interval_of(difference) for metric, difference in differences.items()},
        p={metric: difference.p for metric, difference in differences.items()},
        improved={metric: difference.improved for metric, difference in differences.items()},
    )


def _score_of(
    answered: Predictions,
    estimates: Mapping[Metric, Estimates],
    *,
    ignored: tuple[str, ...],
    paths: tuple[Path, Path],
    group: str,
) -> Score:
    """The figures of one system; `paths` are those of its table and of the manifest."""
    missing = tuple(answered.clips["clip_id"][answered.unused])
    recalls = zip(answered.emotions, answered.recalls(), strict=True)
    return Score(
        predictions=str(paths[0]),
        manifest=str(paths[1]),
        group=group,
        emotions=answered.emotions,
        n_clips=len(answered.clips),
        n_missing=len(missing),
        n_ignored=len(ignored),
        missing=missing,
        ignored=ignored,
        n_speakers=estimates["uar"].mean.n_speakers,
        speakers_known=all(answered.speakers),
        mean={metric: interval_of(estimate.mean) for metric, estimate in estimates.items()},
        groups={
            name: {metric: interval_of(estimates[metric].cultures[name]) for metric in METRICS}
            for name in answered.group_names
        },
        clips={name: answered.groups.count(name) for name in answered.group_names},
        recalls={name: float(recall) for name, recall in recalls if np.isfinite(recall)},
        calibration_error=_calibration(answered),
    )


def _check_trained(answered: Manifest, predictions: Path, trained_on: Path | None) -> None:
    """Refuse answers on clips that the system was trained on, as far as that is known."""
    source = trained_on or predictions.parent
    if source.is_dir():
        if trained_on is None and not (source / TRAINED_ON).is_file():
            return
        record = training_record(source)
    else:
        record = with_contents(read_manifest(source, labelled=False))
    check_unseen(answered, record, str(source))


def read_predictions(path: Path) -> pd.DataFrame:
    """Rows of a table of predictions, test clips alone where it tells parts apart.

    Raises:
        ManifestError: the file is not a table.
        RecipeError: no such file, no `clip_id`, or a clip twice.
    """
    hint = "a CSV with clip_id and label, or a column per emotion"
    if not is_there(path, RecipeError, hint):
        raise RecipeError(f"no predictions at `{path}`\n\nhint: {hint}")
    file = read_csv(path)
    if "clip_id" not in file.columns:
        raise RecipeError(f"`{path}` has no column `clip_id`\n\nhint: its columns are {', '.join(file.columns[:20])}")
    # identifiers and labels are text: a name such as `1,5` stays
    texts = [column for column in ("clip_id", LABEL) if column in file.columns]
    table = file.with_decimal_points().assign(**{column: file.frame[column] for column in texts})
    table["clip_id"] = table["clip_id"].map(lambda clip_id: normalize("NFC", clip_id))
    if "part" in table:
        table = table[table["part"] == "test"]
    empty = table.index[table["clip_id"] == ""]
    if len(empty):
        raise RecipeError(f"line {empty[0]} of `{path}` has no clip_id\n\nhint: fill it, or remove the row")
    twice = table["clip_id"][table["clip_id"].duplicated()]
    if len(twice):
        raise RecipeError(f"`{path}` answers clip `{twice.iloc[0]}` twice\n\nhint: one row for each clip")
    return table


def answers(table: pd.DataFrame, clips: Manifest, space: LabelSpace, path: Path, group: str) -> Predictions:
    """The answers of a table in the order of the manifest.

    Raises:
        RecipeError: no clip of the table is in the manifest, or it holds neither labels nor probabilities of every
            emotion, or one that is not a number.
        UnknownLabel: a label that the label space lacks.
    """
    columns = _columns_of(table)
    clip_ids = [normalize("NFC", clip_id) for clip_id in clips.table["clip_id"]]
    if not set(table["clip_id"]).intersection(clip_ids):
        ignored = _not_in(table, clips)
        raise RecipeError(
            f"no clip_id of `{path}` is in the manifest: {_quoted(ignored)} against {_quoted(clip_ids)}\n\n"
            f"hint: {_why_apart(ignored, clip_ids)}"
        )
    rows = table.set_index("clip_id").reindex(clip_ids)
    probabilities = None
    if set(space) <= set(columns):
        probabilities = _numbers(rows[[columns[emotion] for emotion in space]], path)[None]
        predicted = predicted_labels(probabilities)
    elif LABEL in table:
        labels = rows[LABEL].fillna("")
        predicted = np.array([[space.index(name) if name else UNUSED for name in labels]], np.int64)
    else:
        lacking = next(emotion for emotion in space if emotion not in columns)
        raise RecipeError(f"`{path}` has neither `{LABEL}` nor `{lacking}`\n\nhint: a column per emotion, or `{LABEL}`")
    groups = tuple(name or UNKNOWN for name in clips.table[group])
    return Predictions(space.emotions, clips.table, groups, predicted, probabilities)


def _not_in(table: pd.DataFrame, clips: Manifest) -> tuple[str, ...]:
    """Clips of a table that the manifest lacks."""
    clip_ids = {normalize("NFC", clip_id) for clip_id in clips.table["clip_id"]}
    return tuple(sorted(set(table["clip_id"]) - clip_ids))


def _numbers(cells: pd.DataFrame, path: Path) -> Float[np.ndarray, "N K"]:
    numbers = cells.apply(pd.to_numeric, errors="coerce")
    unreadable = (~np.isfinite(numbers.astype(float)) & cells.notna() & (cells != "")).to_numpy()
    if unreadable.any():
        value = cells.to_numpy()[unreadable][0]
        raise RecipeError(f"`{path}` holds `{value}` as a probability\n\nhint: numbers, or nothing")
    return numbers.to_numpy(float)


def _quoted(clip_ids: Sequence[str]) -> str:
    return listed([f"`{clip_id}`" for clip_id in clip_ids]) or "none"


def _why_apart(answered: Sequence[str], clip_ids: Sequence[str]) -> str:
    """What table programs and people do to names, where it explains that none of them meet."""
    in_manifest = set(clip_ids)
    if {clip_id.lstrip("0") for clip_id in in_manifest} & set(answered):
        return "a table program has dropped leading zeros: import the column as text"
    if {clip_id.replace("\\", "/") for clip_id in answered} & in_manifest:
        return "a clip_id has `/` between its folders, also on Windows: replace every backslash"
    if {clip_id.casefold() for clip_id in answered} & {clip_id.casefold() for clip_id in in_manifest}:
        return "names differ in capital letters: write them as the manifest has them"
    if {clip_id_of(clip_id) for clip_id in answered} & in_manifest:
        return "a clip_id has no suffix of a file: write `clip`, not `clip.wav`"
    if {PurePosixPath(clip_id).name for clip_id in in_manifest} & {clip_id_of(PurePosixPath(a).name) for a in answered}:
        return "a clip_id is the path below the corpus: write `anger/clip`, not `clip`"
    return "take the column clip_id of the manifest"


def score_table(score: Score) -> Table:
    """Every group and their mean, in percent."""
    names = [NAMES[metric] for metric in METRICS]
    lines = [
        (name, str(score.clips[name]), *(span(by_metric[metric]) for metric in METRICS))
        for name, by_metric in score.groups.items()
    ]
    if len(lines) > 1:
        lines.append(("mean", str(score.n_clips), *(span(score.mean[metric]) for metric in METRICS)))
    if score.difference is not None and score.p is not None and score.improved is not None:
        lines.append(
            ("minus the other", str(score.n_clips), *(span(score.difference[m], signed=True) for m in METRICS))
        )
        lines.append(("p", "", *(f"{score.p[m]:.3f}" if np.isfinite(score.p[m]) else MISSING for m in METRICS)))
        lines.append(("better in", "", *(f"{score.improved[m]} of {len(score.groups)}" for m in METRICS)))
    notes = [
        f"{score.n_clips} clips of {score.n_speakers} speakers, {score.n_missing} without an answer (wrong)"
        + (f": {_quoted(score.missing)}. Percent, " if score.missing else ". Percent, ")
        + "95 % intervals over speakers within each group.",
        "Recall, %: " + ", ".join(f"{name} {100 * share:.1f}" for name, share in score.recalls.items()) + ".",
    ]
    if not score.speakers_known:
        notes.append("Speakers unknown for some clips, each counts as a speaker: intervals are too narrow.")
    if score.n_ignored:
        notes.append(f"{score.n_ignored} answers are on clips that the manifest lacks: {_quoted(score.ignored)}.")
    if score.n_outside:
        emotions = ", ".join(score.outside)
        notes.append(f"{score.n_outside} clips show {emotions}, which the label space lacks: left out.")
    if score.n_missing_against:
        absent = f"{score.n_missing_against} clips without an answer (wrong): {_quoted(score.missing_against)}"
        notes.append(f"`{score.against}` leaves {absent}.")
    if score.calibration_error is not None:
        notes.append(f"Expected calibration error {100 * score.calibration_error:.1f} %.")
    heading = f"{score.predictions}" + (f" against {score.against}" if score.against else "")
    return Table(heading, (score.group, "N", *(f"{name} [95 %]" for name in names)), tuple(lines), tuple(notes))


def write_score(score: Score, folder: Path) -> list[Path]:
    """Write score.json, score.csv and score.html; returns their paths."""
    table = score_table(score)
    texts = {
        "score.json": json.dumps(asdict(score), indent=1, ensure_ascii=False) + "\n",
        "score.csv": to_csv(table),
        "score.html": tables_page(table.heading, [table], kind="score", footer=USE_LIMITS, answer=_in_words(score)),
    }
    check_free((folder / name for name in texts), "score")
    for name, text in texts.items():
        write_whole(folder / name, text, "score")
    return [folder / name for name in texts]


def _in_words(score: Score) -> list[str]:
    """The mean UAR against chance, and against the other system on the same clips."""
    sentences = [against_chance("This system", score.mean["uar"], 1 / len(score.emotions))]
    if score.difference is not None:
        uar = score.difference["uar"]
        low, high = uar.low, uar.high
        detected = low is not None and high is not None and (low > 0 or high < 0)
        side = ("above" if uar.value > 0 else "below") if detected else "not distinguishable from"
        sentences.append(f"It is {side} `{score.against}`: {span(uar, signed=True)} points of UAR.")
    if score.n_missing:
        share = percent(score.n_missing / score.n_clips)
        sentences.append(
            f"{score.n_missing:,} of {score.n_clips:,} clips ({share} %) have no answer and count as wrong."
        )
    return sentences


def _columns_of(table: pd.DataFrame) -> dict[str, str]:
    """Column of each emotion's probability by its canonical name; a run's fused ones come first."""
    fused = [column for column in table.columns if column.startswith(PROBABILITY)]
    plain = [column for column in table.columns if "." not in column and column != "emotion"]
    return {canonical(column.removeprefix(PROBABILITY)): str(column) for column in fused or plain}


def _emotions_of(table: pd.DataFrame) -> list[str]:
    if LABEL in table and not any(column.startswith(PROBABILITY) for column in table):
        return []
    emotions = [column.removeprefix(PROBABILITY) for column in table.columns if column.startswith(PROBABILITY)]
    if emotions:
        return emotions
    # A column that has the name of an emotion is one, whatever its cells hold: clips of an emotion that was left out
    # would not count.
    numeric = [
        column
        for column in table.columns
        if column != "clip_id" and (_is_numeric(table[column]) or canonical(column) in KNOWN_EMOTIONS)
    ]
    return numeric if len(numeric) > 1 else []


def _is_numeric(values: pd.Series) -> bool:
    given = values[values != ""]
    return len(given) > 0 and bool(pd.to_numeric(given, errors="coerce").between(0, 1).all())


def _of_space(clips: Manifest, space: LabelSpace) -> Manifest:
    kept = clips.table["clip_id"][[emotion in space for emotion in clips.table["emotion"]]]
    if not len(kept):
        present = ", ".join(sorted(set(clips.table["emotion"])))
        raise ManifestError(f"no clip shows one of {', '.join(space)}; they show {present}\n\nhint: pass --labels")
    return clips.select(list(kept))


def _calibration(answered: Predictions) -> float | None:
    """Expected calibration error; None without probabilities, or where they do not sum to 1."""
    if answered.probabilities is None:
        return None
    (probabilities,) = answered.probabilities
    sums = probabilities[np.isfinite(probabilities).all(axis=1)].sum(axis=1)
    if not len(sums) or not np.allclose(sums, 1, atol=0.01):
        return None
    return expected_calibration_error(probabilities, answered.truth)
