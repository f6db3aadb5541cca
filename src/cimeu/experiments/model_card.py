"""The card that travels with every ensemble: what it was trained on, how well it does for whom, what it is not for."""

from collections.abc import Iterator, Sequence

import pandas as pd

from cimeu.corpora.folds import Fold
from cimeu.corpora.licences import cautions, licences
from cimeu.encoders.weights import weights_key
from cimeu.evaluation.calibration import expected_calibration_error, negative_log_likelihood
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.evaluation.predictions import PROBABILITY, uar_of
from cimeu.experiments.recipe import Recipe
from cimeu.model.network import CiMEU
from cimeu.model.rivals.rival import Rival
from cimeu.timeline.segments import USE_LIMITS

GROUPS = ("corpus", "culture", "gender")
"""Columns whose groups get figures of their own."""
PROHIBITED = (
    "inferring emotions of people at work or in education, except for medical or safety reasons (prohibited in the EU: "
    "Regulation (EU) 2024/1689, Art. 5(1)(f))",
    "decisions about a person: hiring, grading, credit, insurance, policing, border control, health care, custody",
    "lie detection, or claims about what somebody feels, intends or is like",
    "watching people who do not know of it or have not agreed",
    "people and settings unlike those it was tested on below: other cultures, ages, languages, medical conditions",
)


def model_card(
    recipe: Recipe,
    fold: Fold,
    settings: EnsembleSettings,
    table: pd.DataFrame,
    model: CiMEU | Rival,
    trained_on: pd.DataFrame,
) -> str:
    """Markdown of the card.

    Args:
        recipe: what was run.
        fold: who was trained on and who was held out.
        settings: how answers are put together.
        table: rows of `predictions.csv`.
        model: one direction, for its size and encoders.
        trained_on: rows of the training clips; of an adapted run also those of the run that it comes from.
    """
    specifications, emotions = model.specifications, list(model.config.emotions)
    encoders = [
        weights_key(str(description["name"]), description.get("preprocessing", {}))
        for description in (specifications.first_encoder, specifications.second_encoder)
        if description
    ]
    synthetic = "**Trained on synthetic clips: a demonstration, no statement about people.**"
    return "\n".join(
        [
            f"# {recipe.name}, fold {fold.name}",
            "",
            synthetic if specifications.synthetic else "",
            "",
            USE_LIMITS,
            "",
            *_what_it_is(recipe, fold, settings, model, encoders, n_clips=len(trained_on)),
            *_who(trained_on),
            *_how_well(table[table["part"] == "test"], trained_on),
            "## Calibration",
            "",
            *_calibration(table, settings, emotions),
            "",
            "## Not for",
            "",
            *(f"- {use}" for use in (*PROHIBITED, *cautions(encoders))),
            "",
            "Scores describe how a clip resembles acted or labelled clips of an emotion; they are no measurement of "
            "what a person feels.",
            "",
            "## Licences",
            "",
            "A model inherits the limits of its corpora and of the weights of its encoders; see also CiMEU's "
            "`NOTICES.md`.",
            "",
            *licences(specifications.corpora, encoders),
            "",
        ]
    )


def _what_it_is(
    recipe: Recipe,
    fold: Fold,
    settings: EnsembleSettings,
    model: CiMEU | Rival,
    encoders: Sequence[str],
    *,
    n_clips: int,
) -> Iterator[str]:
    specifications = model.specifications
    versions = specifications.versions
    yield from ("## What it is", "")
    yield f"- Emotions: {', '.join(model.config.emotions)}"
    yield f"- Streams: {' and '.join(encoders)}"
    if isinstance(model, CiMEU):
        size = sum(parameter.numel() for parameter in model.parameters())
        yield f"- Size: `{model.config.size}`, {size:,} parameters in each direction"
    else:
        size = sum(tensor.numel() for tensor in model.state_dict().values())
        yield f"- Method: `{recipe.method}`, {size:,} numbers"
    yield f"- Made with cimeu {versions.get('cimeu', 'unknown')}, torch {versions.get('torch', 'unknown')}"
    yield f"- Trained on {n_clips:,} clips of {', '.join(specifications.corpora)}"
    yield f"- Held out: {fold.name} ({recipe.folds.protocol})"
    yield f"- Speakers: {'disjoint in training, validation and test' if fold.speakers_known else fold.note}"
    if fold.note and fold.speakers_known:
        yield f"- Note: {fold.note}"
    yield from (f"- Ensemble: {settings}", "")


def _who(trained_on: pd.DataFrame) -> Iterator[str]:
    yield from ("## Who it was trained on", "")
    yield "| corpus | culture | clips | speakers | gender | language | acted |"
    yield "|---|---|---|---|---|---|---|"
    yield from _training_rows(trained_on)
    yield from ("", f"Clips by emotion: {counts_of(trained_on['emotion'])}.", "")


def _how_well(test: pd.DataFrame, trained_on: pd.DataFrame) -> Iterator[str]:
    yield from ("## How well it does on test clips", "")
    yield "UAR and N; one seed, so these are single figures without an interval. `cimeu report` gives intervals."
    yield from ("", "| group | UAR, % | N | speakers |", "|---|---|---|---|")
    yield from _figures(test, "all")
    for column in GROUPS:
        for value in sorted(set(test[column]) - {""}):
            yield from _figures(test[test[column] == value], f"{column} {value}")
    yield ""
    yield from _not_tested(trained_on, test)
    yield ""


def _training_rows(clips: pd.DataFrame) -> Iterator[str]:
    for (corpus, culture), group in clips.groupby(["corpus", "culture"], sort=True):
        cells = [
            corpus,
            culture or "unknown",
            len(group),
            _n_speakers(group),
            *(counts_of(group[column]) if column in group else "unknown" for column in ("gender", "language", "acted")),
        ]
        yield "| " + " | ".join(str(cell) for cell in cells) + " |"


def counts_of(values: pd.Series) -> str:
    """How often each value occurs, as text."""
    return ", ".join(f"{value or 'unknown'} {count}" for value, count in values.value_counts().sort_index().items())


def _n_speakers(clips: pd.DataFrame) -> str:
    speakers = clips.loc[clips["speaker"] != "", ["corpus", "speaker"]].drop_duplicates()
    return str(len(speakers)) if len(speakers) else "unknown"


def _figures(table: pd.DataFrame, name: str) -> list[str]:
    return [f"| {name} | {100 * uar_of(table, 'test'):.1f} | {len(table)} | {_n_speakers(table)} |"]


def _not_tested(trained_on: pd.DataFrame, test: pd.DataFrame) -> Iterator[str]:
    """Groups without a figure."""
    yield "Groups that are not in this table were not tested."
    for column in GROUPS:
        missing = sorted(set(trained_on[column]) - set(test[column]) - {""})
        if missing:
            yield f"Trained on, not tested: {column} {', '.join(missing)}."
        unknown = int((test[column] == "").sum())
        if unknown:
            yield f"The {column} of {unknown} of {len(test)} test clips is unknown."


def _calibration(table: pd.DataFrame, settings: EnsembleSettings, emotions: list[str]) -> Iterator[str]:
    threshold = f"no emotion is named below a confidence of {settings.abstain_below:.2f}"
    yield f"Temperature {settings.temperature:.2f}; {threshold}."
    yield ""
    yield "| clips | calibration error (10 bins) | negative log-likelihood | answered, % | right of those, % | N |"
    yield "|---|---|---|---|---|---|"
    for part in ("validation", "test"):
        clips = table[table["part"] == part]
        scores = clips[[PROBABILITY + emotion for emotion in emotions]].to_numpy(dtype=float)
        truth = clips["emotion"].map(emotions.index).to_numpy(dtype=int)
        answered = scores.max(axis=1, initial=0.0) >= settings.abstain_below
        right = (scores.argmax(axis=1) == truth)[answered]
        figures = [
            f"{expected_calibration_error(scores, truth):.3f}",
            f"{negative_log_likelihood(scores, truth):.2f}",
            f"{100 * answered.mean():.0f}" if len(clips) else "none",
            f"{100 * right.mean():.1f}" if len(right) else "none",
            str(len(clips)),
        ]
        yield f"| {part} | {' | '.join(figures)} |"
    yield ""
    yield "On other recordings, cultures and spontaneous speech the confidence may be wrong."
