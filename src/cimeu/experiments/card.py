"""The card that travels with every ensemble: what it was trained on, how well it does for whom, what it is not for."""

import pandas as pd

from cimeu.corpora.folds import Fold
from cimeu.evaluation.metrics import UNUSED, uar
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.experiments.recipe import Recipe
from cimeu.inference.timeline import USE_LIMITS
from cimeu.model.network import CiMEU


def model_card(recipe: Recipe, fold: Fold, settings: EnsembleSettings, table: pd.DataFrame, model: CiMEU) -> str:
    """Markdown of the card.

    Args:
        recipe: what was run.
        fold: who was trained on and who was held out.
        settings: how both directions are fused.
        table: rows of `predictions.csv`.
        model: one direction, for its sizes and encoders.
    """
    said, emotions = model.specifications, list(model.config.emotions)
    test = table[table["part"] == "test"]
    lines = [
        f"# {recipe.name}, fold {fold.name}",
        "",
        "**Trained on synthetic clips: a demonstration, no statement about people.**" if said.synthetic else "",
        "",
        USE_LIMITS,
        "",
        "## What it is",
        "",
        f"- Emotions: {', '.join(emotions)}",
        f"- Streams: {said.first_encoder.get('name')}"
        + (f" and {said.second_encoder['name']}" if said.second_encoder else ""),
        f"- Size: `{model.config.size}`, {sum(p.numel() for p in model.parameters()):,} parameters in each direction",
        f"- Trained on {len(fold.train)} clips of {', '.join(said.corpora)}",
        f"- Held out: {fold.name} ({recipe.folds.protocol})",
        f"- Speakers: {'disjoint in training, validation and test' if fold.speakers_known else fold.note}",
        f"- Ensemble: {settings}",
        "",
        "## How well it does on test clips",
        "",
        "UAR and N; one seed, so these are single figures without an interval. `cimeu report` gives intervals.",
        "",
        "| group | UAR, % | N |",
        "|---|---|---|",
        *_figures(test, emotions, "all"),
    ]
    for column in ("culture", "gender"):
        for value in sorted(set(test[column]) - {""}):
            lines += _figures(test[test[column] == value], emotions, f"{column} {value}")
    lines += [
        "",
        "Groups that are not in this table were not tested. Scores describe how a clip resembles acted or labelled "
        "clips of an emotion; they are no measurement of what a person feels.",
        "",
        "## Licences",
        "",
        "A model inherits the limits of its corpora and of the weights of its encoders; see `NOTICES.md` of CiMEU.",
    ]
    return "\n".join(lines) + "\n"


def _figures(table: pd.DataFrame, emotions: list[str], name: str) -> list[str]:
    truth = table["emotion"].map(emotions.index).to_numpy()
    scores = table[[f"fused.{emotion}" for emotion in emotions]]
    called = scores.to_numpy().argmax(axis=1)
    called[scores.isna().any(axis=1).to_numpy()] = UNUSED
    return [f"| {name} | {100 * uar(truth, called):.1f} | {len(table)} |"]
