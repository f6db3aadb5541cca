"""Figures of a style-set model as plain values, as tables, and as the card that travels with it.

Intervals are 95 %, over speakers within each culture; a mean over cultures weighs each the same. Seeds are averaged.

Axes: S seeds, N clips, K emotions.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from cimeu.corpora.licences import cautions, licences
from cimeu.evaluation.calibration import expected_calibration_error, negative_log_likelihood
from cimeu.evaluation.metrics import UNUSED, predicted_labels, uar
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.evaluation.supports import Condition
from cimeu.evaluation.uncertainty import Estimate, bootstrap
from cimeu.experiments.held_out import ALONE, NATURAL, REPORTED, SHARES, Choice, OuterFold, uar_where_met
from cimeu.experiments.model_card import PROHIBITED
from cimeu.model.style_set import StyleSet
from cimeu.timeline.segments import USE_LIMITS
from cimeu.training.style_set import Embedded, Scored

Json = dict[str, Any]


def figures(
    clips: Embedded,
    table: pd.DataFrame,
    folds: Sequence[OuterFold],
    shipped: Choice,
    inside: Mapping[int, Mapping[Condition, Float[np.ndarray, "N K"]]],
    own: Mapping[str, Float[np.ndarray, "N K"]],
    fewer: Sequence[OuterFold] | None,
) -> Json:
    """Everything that is reported.

    Args:
        clips: of all groups.
        table: their rows in the manifests.
        folds: each group tested by a model of the others.
        shipped: what all groups together chose.
        inside: by seed, answers about speakers of known groups.
        own: by group, answers about its unseen speakers by a model of that group alone.
        fewer: `folds` again with fewer groups.
    """
    predicted = {condition: _predictions(clips, folds, condition) for condition in (ALONE, NATURAL)}
    every = np.ones(len(clips.x), bool)
    return {
        "clips": len(clips.x),
        "speakers": len(set(clips.person) - {""}),
        "groups": list(clips.groups),
        "held_out": {str(c): _estimates(clips, calls, every) for c, calls in predicted.items()},
        "conditions": _conditions(folds),
        "fewer_groups": None if fewer is None else _conditions(fewer),
        "within": {
            **{
                f"all groups, {condition}": _estimates(
                    clips, np.stack([predicted_labels(answers[condition]) for answers in inside.values()]), every
                )
                for condition in (ALONE, NATURAL)
            },
            "own group, alone": _estimates(clips, _joined(clips, own)[None], every),
        },
        "gender": {
            str(gender): {
                **_estimates(clips, predicted[NATURAL], (table["gender"] == gender).to_numpy()),
                "speakers": int(table.loc[table["gender"] == gender, ["corpus", "speaker"]].drop_duplicates().shape[0]),
            }
            for gender in sorted(set(table["gender"]) - {""})
        },
        "coverage": {
            f"{condition} {share:g}": _coverage(folds, condition, share)
            for condition in (ALONE, NATURAL)
            for share in SHARES
        },
        "calibration": {str(condition): _calibration(folds, condition) for condition in (ALONE, NATURAL)},
        "recall": _recalls(clips, folds),
        "chosen": {
            "shipped": {"rule": str(shipped.rule), "temperatures": shipped.temperatures, "scores": shipped.scores},
            **{fold.group: {"rule": str(fold.choice.rule)} for fold in folds},
        },
    }


def tables(measured: Json) -> str:
    """Markdown of the figures."""
    lines = [
        f"{measured['clips']} clips of {measured['speakers']} speakers, {len(measured['groups'])} cultures. UAR in "
        "per cent.",
        "",
        *_held_out_table(measured),
        "",
        *_conditions_table(measured["groups"], measured["conditions"]),
        "",
    ]
    if measured["fewer_groups"]:
        names = list(next(iter(measured["fewer_groups"].values()))["groups"])
        lines += [
            f"The same, with {len(names)} cultures alone:",
            "",
            *_conditions_table(names, measured["fewer_groups"]),
            "",
        ]
    lines += [*_coverage_table(measured), "", *_calibration_table(measured), "", *_gender_table(measured), ""]
    lines += ["Chosen inside the training cultures:", ""]
    lines += [f"- {name}: {chosen['rule']}" for name, chosen in measured["chosen"].items()]
    return "\n".join(lines) + "\n"


def card(name: str, model: StyleSet, settings: EnsembleSettings, table: pd.DataFrame, measured: Json) -> str:
    """Markdown of the card."""
    said = model.specifications
    encoders = [str(said.first_encoder["name"])]
    threshold, share = settings.abstain_below, settings.coverage or 1.0
    lines = [
        f"# {name}: a voice model to start with",
        "",
        USE_LIMITS,
        "",
        "## What it is",
        "",
        f"- Emotions: {', '.join(said.emotions)}. It knows no other, and names one of these whatever it hears.",
        f"- Input: sound, by the frozen encoder `{encoders[0]}`. No faces: its one lane `voice` belongs to no face.",
        "- Method: a style set (`cimeu.model.style_set`): logistic regression on the mean of the encoder's "
        "states, less the "
        "style of the speaker, read from other unlabelled windows of the recording. It is linear, and not the "
        "CiMEU network.",
        f"- Size: {sum(tensor.numel() for tensor in model.state_dict().values()):,} numbers. Nothing of single "
        "training "
        "clips is in it.",
        f"- Rule: {measured['chosen']['shipped']['rule']}, chosen by leaving one culture out.",
        f"- Made with cimeu {said.versions.get('cimeu', 'unknown')}, torch {said.versions.get('torch', 'unknown')}.",
        "",
        "## Who it was trained on",
        "",
        "| corpus | culture | clips | speakers | gender | language | acted |",
        "|---|---|---|---|---|---|---|",
        *_training_rows(table),
        "",
        "A culture here is one corpus with its own microphone, language and way of acting: what is measured "
        "across them is "
        "measured across corpora. Most of the speech is acted.",
        "",
        "## How well it does",
        "",
        *tables(measured).splitlines(),
        "",
        "`alone`: each clip by itself. `natural-10`: with ten other unlabelled clips of the same speaker, or as "
        "many as "
        "there are; `even`, `skewed` (70 % of one emotion), `own` and `other` (one emotion only: that of the "
        "clip, another "
        "one) for speakers who have such clips. These read test speakers without labels: they are transductive.",
        "",
        f"It names an emotion where its confidence is at least {threshold:.2f}, chosen so that {100 * share:.0f} % "
        "of clips of "
        "held-out cultures are answered; what that buys stands above. The emotions that are easy pass more often.",
        "",
        "## What it cannot do",
        "",
        "- Tell who speaks: a second speaker in a recording is taken for the first.",
        "- Cultures, ages and languages other than those above, children, singing, whispering, noisy rooms: not "
        "tested.",
        "- Spontaneous speech: one of its corpora has some; there the style of a speaker gained nothing.",
        "- A recording of one emotion throughout: part of it is taken for the speaker's way of speaking (`own` above).",
        "",
        "## Not for",
        "",
        *(f"- {use}" for use in PROHIBITED),
        "",
        "Scores describe how a voice resembles acted or labelled clips of an emotion; they are no measurement of "
        "what a "
        "person feels.",
        *(f"\nOn its encoder: {caution}." for caution in cautions(encoders)),
        "",
        "## Licences",
        "",
        "The weights in this folder may be used for research that is not commercial: these terms follow from "
        "those of the "
        "corpora and stand apart from the MIT licence of the code.",
        "",
        *licences(said.corpora, encoders),
    ]
    return "\n".join(lines) + "\n"


def _predictions(clips: Embedded, folds: Sequence[OuterFold], condition: Condition) -> Int[np.ndarray, "S N"]:
    """Called emotion of each clip by the model that had not heard its group."""
    n_seeds = len(folds[0].answers[condition])
    predicted = np.full((n_seeds, len(clips.x)), UNUSED)
    for fold in folds:
        for seed, scored in enumerate(fold.answers[condition]):
            predicted[seed, fold.rows[scored.rows]] = predicted_labels(scored.probabilities)
    return predicted


def _estimates(clips: Embedded, predicted: Int[np.ndarray, "S N"], kept: Bool[np.ndarray, " N"]) -> Json:
    found = bootstrap(clips.emotion, predicted, clips.person, clips.group, n_classes=len(clips.emotions), kept=kept)
    uars = found["uar"]
    groups = {group: _plain(estimate) for group, estimate in uars.cultures.items()}
    return {"mean": _plain(uars.mean), "worst": min(each["value"] for each in groups.values()), "groups": groups}


def _plain(estimate: Estimate) -> Json:
    interval = [None if np.isnan(edge) else round(100 * edge, 1) for edge in (estimate.low, estimate.high)]
    return {
        "value": round(100 * estimate.value, 1),
        "interval": interval,
        "clips": estimate.n_clips,
        "speakers": estimate.n_speakers,
    }


def _conditions(folds: Sequence[OuterFold]) -> Json:
    """UAR of each condition in each group that can meet it, the mean over seeds."""
    found: Json = {}
    for condition in REPORTED:
        groups: Json = {}
        for fold in folds:
            scored = fold.answers[condition]
            values = [uar_where_met(fold.truth, each, scored[0].probabilities.shape[1]) for each in scored]
            met = np.isfinite(values).all()
            groups[fold.group] = {
                "value": round(100 * float(np.mean(values)), 1) if met else None,
                "clips": len(scored[0].rows),
                "support": round(float(scored[0].sizes.mean()), 1) if len(scored[0].sizes) else 0.0,
            }
        values = [group["value"] for group in groups.values() if group["value"] is not None]
        found[str(condition)] = {"mean": round(float(np.mean(values)), 1) if values else None, "groups": groups}
    return found


def _coverage(folds: Sequence[OuterFold], condition: Condition, share: float) -> Json:
    """What a threshold fitted on other held-out groups buys in each group, seeds averaged."""
    groups = {}
    for fold in folds:
        rows = [_bought(fold, scored, fold.choice.thresholds[share]) for scored in fold.answers[condition]]
        groups[fold.group] = {name: round(100 * float(np.mean([row[name] for row in rows])), 1) for name in rows[0]}
    names = next(iter(groups.values()))
    return {
        "mean": {name: round(float(np.mean([each[name] for each in groups.values()])), 1) for name in names},
        "groups": groups,
    }


def _bought(fold: OuterFold, scored: Scored, threshold: float) -> dict[str, float]:
    truth, answers = fold.truth[scored.rows], scored.probabilities.argmax(axis=1)
    answered = scored.probabilities.max(axis=1) >= threshold
    right = answers == truth
    return {
        "coverage": float(answered.mean()),
        "accuracy": float(right[answered].mean()) if answered.any() else float("nan"),
        "accuracy of all": float(right.mean()),
        "uar": uar(truth[answered], answers[answered]) if answered.any() else float("nan"),
        "uar of all": uar(truth, answers),
    }


def _calibration(folds: Sequence[OuterFold], condition: Condition) -> Json:
    values = {
        fold.group: (
            expected_calibration_error(
                fold.answers[condition][0].probabilities, fold.truth[fold.answers[condition][0].rows]
            ),
            negative_log_likelihood(
                fold.answers[condition][0].probabilities, fold.truth[fold.answers[condition][0].rows]
            ),
        )
        for fold in folds
    }
    return {group: {"error": round(error, 3), "likelihood": round(nats, 2)} for group, (error, nats) in values.items()}


def _recalls(clips: Embedded, folds: Sequence[OuterFold]) -> Json:
    found = {}
    for fold in folds:
        scored = fold.answers[NATURAL][0]
        answers = scored.probabilities.argmax(axis=1)
        truth = fold.truth[scored.rows]
        found[fold.group] = {
            emotion: round(100 * float(np.mean(answers[truth == number] == number)), 1)
            for number, emotion in enumerate(clips.emotions)
        }
    return found


def _joined(clips: Embedded, own: Mapping[str, Float[np.ndarray, "N K"]]) -> Int[np.ndarray, " N"]:
    joined = np.full(len(clips.x), UNUSED)
    for group, answers in own.items():
        inside = clips.of(group)
        joined[inside] = predicted_labels(answers[inside])
    return joined


def _held_out_table(measured: Json) -> Iterator[str]:
    groups = measured["groups"]
    yield "| tested on | " + " | ".join(["mean", "worst", *groups]) + " |"
    yield "|---|" + "---|" * (len(groups) + 2)
    rows = {f"culture not trained on, {name}": found for name, found in measured["held_out"].items()}
    rows |= {f"unseen speakers, {name}": found for name, found in measured["within"].items()}
    for name, found in rows.items():
        cells = [_cell(found["mean"]), f"{found['worst']:.1f}", *(_cell(found["groups"][group]) for group in groups)]
        yield f"| {name} | " + " | ".join(cells) + " |"
    counts = list(next(iter(measured["held_out"].values()))["groups"].values())
    yield "| clips / speakers | | | " + " | ".join(f"{each['clips']} / {each['speakers']}" for each in counts) + " |"


def _conditions_table(groups: Sequence[str], conditions: Json) -> Iterator[str]:
    yield "| support, culture not trained on | " + " | ".join(["mean", *groups]) + " |"
    yield "|---|" + "---|" * (len(groups) + 1)
    for name, found in conditions.items():
        cells = []
        for group in groups:
            each = found["groups"][group]
            cells.append(
                "n/a" if each["value"] is None else f"{each['value']:.1f} ({each['support']:g}; N {each['clips']})"
            )
        mean = "n/a" if found["mean"] is None else f"{found['mean']:.1f}"
        yield f"| {name} | {mean} | " + " | ".join(cells) + " |"


def _coverage_table(measured: Json) -> Iterator[str]:
    heads = ("answered, %", "right of those, %", "right of all, %", "UAR of those", "UAR of all")
    yield "| threshold chosen on other held-out cultures | " + " | ".join(heads) + " |"
    yield "|---|---|---|---|---|---|"
    for name, found in measured["coverage"].items():
        condition, share = name.rsplit(" ", 1)
        mean = found["mean"]
        names = ("coverage", "accuracy", "accuracy of all", "uar", "uar of all")
        yield f"| {100 * float(share):.0f} %, {condition} | " + " | ".join(f"{mean[each]:.1f}" for each in names) + " |"


def _calibration_table(measured: Json) -> Iterator[str]:
    groups = measured["groups"]
    yield "| calibration error (10 bins) / negative log-likelihood | " + " | ".join(groups) + " |"
    yield "|---|" + "---|" * len(groups)
    for name, found in measured["calibration"].items():
        yield (
            f"| {name} | "
            + " | ".join(f"{found[g]['error']:.3f} / {found[g]['likelihood']:.2f}" for g in groups)
            + " |"
        )


def _gender_table(measured: Json) -> Iterator[str]:
    yield "| gender, culture not trained on, natural-10 | UAR | clips | speakers |"
    yield "|---|---|---|---|"
    for gender, found in measured["gender"].items():
        yield f"| {gender} | {_cell(found['mean'])} | {found['mean']['clips']} | {found['speakers']} |"


def _cell(estimate: Json) -> str:
    low, high = estimate["interval"]
    return f"{estimate['value']:.1f}" + ("" if low is None else f" [{low:.1f}, {high:.1f}]")


def _training_rows(clips: pd.DataFrame) -> Iterator[str]:
    for (corpus, culture), group in clips.groupby(["corpus", "culture"], sort=True):
        counts = [
            ", ".join(
                f"{value or 'unknown'} {count}" for value, count in group[column].value_counts().sort_index().items()
            )
            for column in ("gender", "language", "acted")
        ]
        cells = [corpus, culture, len(group), group["speaker"].nunique(), *counts]
        yield "| " + " | ".join(map(str, cells)) + " |"
