"""The card that travels with every ensemble: what it was trained on, how well it does for whom, what it is not for."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from cimeu.corpora.folds import Fold
from cimeu.corpora.licences import cautions, licences
from cimeu.encoders.weights import weights_keys
from cimeu.evaluation.calibration import expected_calibration_error, negative_log_likelihood
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.evaluation.predictions import PROBABILITY, uar_of
from cimeu.experiments.recipe import Recipe
from cimeu.model.config import ModelConfig
from cimeu.model.network import CiMEU
from cimeu.model.rivals.rival import Rival
from cimeu.pyramid import Direction
from cimeu.timeline.segments import CONTINUOUS_CAUTION, USE_LIMITS
from cimeu.training.faults import Fault

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
    faults: Mapping[Direction, Sequence[Fault]],
) -> str:
    """Markdown of the card.

    Args:
        recipe: what was run.
        fold: who was trained on and who was held out.
        settings: how answers are put together.
        table: rows of `predictions.csv`.
        model: one direction, for its size and encoders.
        trained_on: rows of the training clips; of an adapted run also those of the run that it comes from.
        faults: parts with little or no effect, by direction, of networks whose journal measures them.
    """
    specifications = model.specifications
    encoders = weights_keys((specifications.first_encoder, specifications.second_encoder))
    table = table[table["emotion"] != ""]  # a clip with continuous labels alone says nothing about emotions
    test = table[table["part"] == "test"]
    return template("model_card.md").render(
        recipe=recipe,
        fold=fold,
        settings=settings,
        specifications=specifications,
        emotions=model.config.emotions,
        encoders=encoders,
        size=_size(recipe, model),
        trained_on=trained_on,
        training_rows=list(_training_rows(trained_on)),
        figures=list(_figures(test)),
        not_tested=list(_not_tested(trained_on, test)),
        faults=faults,
        calibration=list(_calibration(table, settings, list(model.config.emotions))),
        use_limits=USE_LIMITS,
        caution=CONTINUOUS_CAUTION,
        prohibited=(*PROHIBITED, *cautions(encoders)),
        licences=licences(specifications.corpora, encoders),
    )


def template(name: str) -> Template:
    """A card of this folder: Markdown with the figures left open; a name that it lacks is an error."""
    environment = Environment(
        loader=PackageLoader("cimeu.experiments", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"counts": counts_of, "interval": _interval, "one_digit": _one_digit}
    return environment.get_template(name)


def _interval(estimate: Mapping[str, Any]) -> str:
    """Percent with its interval, if it has one."""
    low, high = estimate["interval"]
    return f"{estimate['value']:.1f}" + ("" if low is None else f" [{low:.1f}, {high:.1f}]")


def _one_digit(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1f}"


def _size(recipe: Recipe, model: CiMEU | Rival) -> str:
    if isinstance(model, CiMEU):
        n_parameters = sum(parameter.numel() for parameter in model.parameters())
        size = f"Size: `{model.config.size}`, {n_parameters:,} parameters in each direction"
        return f"{size}; {_modules(recipe, model.config)}"
    return f"Method: `{recipe.method}`, {sum(tensor.numel() for tensor in model.state_dict().values()):,} numbers"


def _modules(recipe: Recipe, config: ModelConfig) -> str:
    """Which modules of the method are on."""
    on = {
        "ER": config.disentangle != "off",
        "RFA": config.second is not None and (config.alignment != "off" or config.fusion != "off"),
        "LRM": recipe.training.weights.mining != "off",
    }
    names = [name for name, is_on in on.items() if is_on]
    return f"with {', '.join(names)}" if names else f"without {', '.join(on)}"


def _training_rows(clips: pd.DataFrame) -> Iterator[list[object]]:
    for (corpus, culture), group in clips.groupby(["corpus", "culture"], sort=True):
        described = [
            counts_of(group[column]) if column in group else "unknown" for column in ("gender", "language", "acted")
        ]
        yield [corpus, culture or "unknown", len(group), _n_speakers(group), *described]


def counts_of(values: pd.Series) -> str:
    """How often each value occurs, as text."""
    return ", ".join(f"{value or 'unknown'} {count}" for value, count in values.value_counts().sort_index().items())


def _n_speakers(clips: pd.DataFrame) -> str:
    speakers = clips.loc[clips["speaker"] != "", ["corpus", "speaker"]].drop_duplicates()
    return str(len(speakers)) if len(speakers) else "unknown"


def _figures(test: pd.DataFrame) -> Iterator[tuple[object, ...]]:
    """Name, UAR, clips and speakers of all test clips and of each group."""
    groups = {"all": test}
    for column in GROUPS:
        groups |= {f"{column} {value}": test[test[column] == value] for value in sorted(set(test[column]) - {""})}
    for name, clips in groups.items():
        yield name, f"{100 * uar_of(clips, 'test'):.1f}", len(clips), _n_speakers(clips)


def _not_tested(trained_on: pd.DataFrame, test: pd.DataFrame) -> Iterator[str]:
    """Groups without a figure, in sentences."""
    for column in GROUPS:
        missing = sorted(set(trained_on[column]) - set(test[column]) - {""})
        if missing:
            yield f"Trained on, not tested: {column} {', '.join(missing)}."
        unknown = int((test[column] == "").sum())
        if unknown:
            yield f"The {column} of {unknown} of {len(test)} test clips is unknown."


def _calibration(table: pd.DataFrame, settings: EnsembleSettings, emotions: list[str]) -> Iterator[tuple[object, ...]]:
    for part in ("validation", "test"):
        clips = table[table["part"] == part]
        scores = clips[[PROBABILITY + emotion for emotion in emotions]].to_numpy(dtype=float)
        truth = clips["emotion"].map(emotions.index).to_numpy(dtype=int)
        answered = scores.max(axis=1, initial=0.0) >= settings.abstain_below
        is_correct = (scores.argmax(axis=1) == truth)[answered]
        yield (
            part,
            f"{expected_calibration_error(scores, truth):.3f}",
            f"{negative_log_likelihood(scores, truth):.2f}",
            f"{100 * answered.mean():.0f}" if len(clips) else "none",
            f"{100 * is_correct.mean():.1f}" if len(is_correct) else "none",
            len(clips),
        )
