"""Figures of a style-set model as tables, and the card that travels with it, by the templates beside this file."""

from collections.abc import Iterator

import pandas as pd

from cimeu.corpora.licences import cautions, licences
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.experiments.model_card import PROHIBITED, counts_of, template
from cimeu.experiments.starter_figures import Json
from cimeu.model.style_set import StyleSet
from cimeu.timeline.segments import USE_LIMITS


def tables(measured: Json) -> str:
    """Markdown of the figures."""
    return template("starter_figures.md").render(measured)


def card(name: str, model: StyleSet, settings: EnsembleSettings, table: pd.DataFrame, measured: Json) -> str:
    """Markdown of the card.

    Args:
        name: of the model.
        model: as it ships.
        settings: when it answers.
        table: rows of the training clips in their manifests.
        measured: its figures.
    """
    encoder = str(model.specifications.first_encoder["name"])
    return template("starter_card.md").render(
        name=name,
        specifications=model.specifications,
        encoder=encoder,
        n_numbers=sum(tensor.numel() for tensor in model.state_dict().values()),
        trained_on=list(_training_rows(table)),
        figures=tables(measured),
        measured=measured,
        settings=settings,
        use_limits=USE_LIMITS,
        prohibited=PROHIBITED,
        cautions=cautions([encoder]),
        licences=licences(model.specifications.corpora, [encoder]),
    )


def _training_rows(clips: pd.DataFrame) -> Iterator[list[object]]:
    for (corpus, culture), group in clips.groupby(["corpus", "culture"], sort=True):
        counts = [counts_of(group[column]) for column in ("gender", "language", "acted")]
        yield [corpus, culture, len(group), group["speaker"].nunique(), *counts]
