"""Turn run folders into the numbers of a report; everything here is plain data, ready for JSON.

Runs of one recipe (folds x seeds) are pooled: a clip is tested in one fold, by every seed. Only seeds that all folds
have enter, so that each clip weighs the same; what is left out is named. No model is loaded and nothing is trained.

Axes: S seeds, N clips, K emotions.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jaxtyping import Float, Int, Shaped

from cimeu.corpora.folds import SPEAKERS_SHARED
from cimeu.errors import RecipeError
from cimeu.evaluation.calibration import expected_calibration_error, negative_log_likelihood, reliability
from cimeu.evaluation.metrics import UNUSED, Metric, called, confusion, recalls
from cimeu.evaluation.uncertainty import (
    Difference,
    Estimate,
    Estimates,
    bootstrap,
    difference,
    holm,
    paired,
    speaker_names,
)
from cimeu.experiments.fold_table import fold_table
from cimeu.experiments.published import published_for
from cimeu.generalisation.cells import PROBABILITY
from cimeu.pyramid import DIRECTIONS

KINDS = ("forward", "backward", "fused")
UNKNOWN = "unknown"
SPEAKERS_APART = ("leave-one-group-out", "within-group", "speaker-independent")
"""Protocols whose folds never share a speaker (checked when they are made)."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One run folder as read: an ensemble of one fold and one seed."""

    folder: Path
    recipe_name: str
    fold: str
    seed: int
    settings: Json
    recipe: Json
    fold_facts: Json
    environment: Json
    synthetic: bool | None
    emotions: tuple[str, ...]
    kinds: tuple[str, ...]
    predictions: pd.DataFrame = field(repr=False)

    @property
    def name(self) -> str:
        """Recipe, fold and seed."""
        return f"{self.recipe_name} · {self.fold} · seed {self.seed}"


@dataclass(frozen=True)
class Pooled:
    """Test clips of all folds, pooled: one row per clip, one answer per seed."""

    clips: pd.DataFrame
    truth: Int[np.ndarray, " N"]
    groups: list[str]
    folds: list[str]
    speakers: list[str]
    probabilities: dict[str, Float[np.ndarray, "S N K"]]
    seeds: tuple[int, ...]
    runs: tuple[Run, ...]
    left_out: tuple[str, ...]

    @property
    def calls(self) -> dict[str, Int[np.ndarray, "S N"]]:
        """Index of the emotion called, by forward, backward and fused."""
        return {kind: called(values) for kind, values in self.probabilities.items()}


def read_run(folder: Path) -> Run:
    """Read what a run folder says about its predictions.

    Raises:
        RecipeError: `predictions.csv` is missing, or has no column that the report needs.
    """
    path = folder / "predictions.csv"
    if not path.is_file():
        raise RecipeError(f"`{path}` does not exist\n\nhint: name folders of finished runs (`cimeu train RECIPE`)")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    emotions = tuple(column.removeprefix(PROBABILITY) for column in table.columns if column.startswith(PROBABILITY))
    lacking = [column for column in ("clip_id", "part", "emotion") if column not in table]
    if lacking or not emotions:
        raise RecipeError(
            f"`{path}` has no column `{lacking[0] if lacking else 'fused.<emotion>'}`\n\n"
            "hint: evaluate the run again to write it anew"
        )
    for column in ("corpus", "speaker", "culture", "gender", "problem"):
        table[column] = table.get(column, "")
    shares = [column for column in table.columns if column.partition(".")[0] in KINDS and "." in column]
    table[shares] = table[shares].apply(pd.to_numeric)
    stray = sorted(set(table.loc[table["part"] == "test", "emotion"]) - set(emotions))
    if stray:
        raise RecipeError(
            f"`{path}` holds test clips of `{stray[0]}`, which the model does not know\n\n"
            f"hint: it knows {', '.join(emotions)}; leave other clips out of the manifest"
        )
    recipe, facts = _yaml(folder / "recipe.yaml"), _json(folder / "fold.json")
    environment = _json(folder / "environment.json")
    return Run(
        folder=folder,
        recipe_name=str(recipe.get("name", folder.name)),
        fold=str(facts.get("name", folder.name)),
        seed=_seed(environment, recipe),
        settings=_json(folder / "ensemble.json"),
        recipe=recipe,
        fold_facts=facts,
        environment=environment,
        synthetic=_synthetic(folder, environment),
        emotions=emotions,
        kinds=tuple(kind for kind in KINDS if f"{kind}.{emotions[0]}" in table),
        predictions=table,
    )


def summarise(folders: Sequence[Path], *, title: str | None = None) -> Json:
    """Every number of the report.

    Raises:
        RecipeError: there is no run, runs do not belong together, or a clip is tested twice.
    """
    runs = [read_run(Path(folder)) for folder in folders]
    if not runs:
        raise RecipeError("there is no run to report\n\nhint: name one or more run folders")
    tested = pool(runs)
    emotions = runs[0].emotions
    column, word = _grouping(tested)
    estimates = {
        kind: bootstrap(tested.truth, calls, tested.speakers, tested.groups, n_classes=len(emotions))
        for kind, calls in tested.calls.items()
    }
    return _plain(
        {
            "title": title or f"{runs[0].recipe_name}: emotion in {_unseen(tested, word)}",
            "recipe": runs[0].recipe_name,
            "synthetic": _agreed([run.synthetic for run in tested.runs]),
            "oracle": _is_oracle(tested.runs),
            "group_column": column,
            "group_word": word,
            "group_words": _plural(word),
            "emotions": list(emotions),
            "chance": _chance(tested),
            "facts": _facts(tested, word),
            "runs": [
                {
                    "name": run.name,
                    "fold": run.fold,
                    "seed": run.seed,
                    "n_test": int((run.predictions["part"] == "test").sum()),
                    "settings": run.settings,
                    "note": run.fold_facts.get("note", ""),
                }
                for run in tested.runs
            ],
            "left_out": list(tested.left_out),
            "environment": tested.runs[0].environment,
            "results": _results(tested, estimates),
            "comparisons": _comparisons(tested),
            "recalls": _recalls(tested, emotions),
            "confusion": sum(confusion(tested.truth, calls, len(emotions)) for calls in tested.calls["fused"]),
            "gap": _group_gap(estimates["fused"]["uar"].cultures),
            "gender": _genders(tested, len(emotions)),
            "calibration": _calibration(tested),
            "journals": _journals(tested.runs),
            "projections": _projections(tested.runs, column),
            "probes": _probes(tested.runs),
            "baselines": _baselines(tested.runs),
            "folds": _folds(tested, len(emotions)),
        }
    )


def pool(runs: Sequence[Run]) -> Pooled:
    """Bring the test clips of all folds and seeds together.

    Raises:
        RecipeError: runs of several recipes or emotions, no seed that all folds have, or a clip tested in two folds.
    """
    for name, values in (
        ("recipes", [run.recipe_name for run in runs]),
        ("lists of emotions", [", ".join(run.emotions) for run in runs]),
        ("sets of directions", [", ".join(run.kinds) for run in runs]),
    ):
        different = list(dict.fromkeys(values))
        if len(different) > 1:
            pair = f"`{different[0]}` and `{different[1]}`"
            raise RecipeError(f"runs of two {name} in one report: {pair}\n\nhint: report them one by one")
    seeds_of: dict[str, set[int]] = {}
    for run in runs:
        if run.seed in seeds_of.setdefault(run.fold, set()):
            raise RecipeError(f"two runs are `{run.name}`\n\nhint: name each run folder once")
        seeds_of[run.fold].add(run.seed)
    shared = set.intersection(*seeds_of.values())
    if not shared:
        raise RecipeError(
            f"no seed was run on all folds: {', '.join(f'{fold} {sorted(seeds)}' for fold, seeds in seeds_of.items())}"
            "\n\nhint: finish one seed on every fold first"
        )
    seeds = tuple(sorted(shared))
    kept = tuple(run for run in runs if run.seed in shared)
    tests = {(run.fold, run.seed): _test_clips(run) for run in kept}
    clips = pd.concat([tests[fold, seeds[0]] for fold in seeds_of])
    twice = clips.index[clips.index.duplicated()]
    if len(twice):
        raise RecipeError(f"clip `{twice[0]}` is tested in two folds\n\nhint: report runs of one set of folds only")
    if clips.empty:
        raise RecipeError(f"`{kept[0].folder / 'predictions.csv'}` holds no test clip\n\nhint: evaluate the run again")
    emotions = kept[0].emotions
    fold_of = {clip_id: fold for fold in seeds_of for clip_id in tests[fold, seeds[0]].index}
    probabilities: dict[str, list[np.ndarray]] = {kind: [] for kind in kept[0].kinds}
    for seed in seeds:
        answers = pd.concat([tests[fold, seed] for fold in seeds_of])
        if set(answers.index) != set(clips.index):
            raise RecipeError(
                f"seeds {seeds[0]} and {seed} were tested on different clips\n\n"
                "hint: report runs of one set of folds only"
            )
        answers = answers.loc[clips.index]
        for kind, shares in probabilities.items():
            shares.append(answers[[f"{kind}.{emotion}" for emotion in emotions]].to_numpy(dtype=float))
    group = _group_column(kept, clips)
    return Pooled(
        clips=clips,
        truth=clips["emotion"].map({emotion: index for index, emotion in enumerate(emotions)}).to_numpy(dtype=int),
        groups=[name or UNKNOWN for name in clips[group]] if group else ["all clips"] * len(clips),
        folds=[fold_of[clip_id] for clip_id in clips.index],
        speakers=speaker_names(clips["corpus"], clips["speaker"]),
        probabilities={kind: np.stack(values) for kind, values in probabilities.items()},
        seeds=seeds,
        runs=kept,
        left_out=tuple(run.name for run in runs if run.seed not in shared),
    )


def _test_clips(run: Run) -> pd.DataFrame:
    return run.predictions[run.predictions["part"] == "test"].set_index("clip_id")


def _group_column(runs: Sequence[Run], clips: pd.DataFrame) -> str:
    """The column that was held out, else culture, else corpus, whichever tells clips apart; empty when none does."""
    held_out = str(runs[0].fold_facts.get("group", "culture"))
    for column in (held_out, "culture", "corpus"):
        if column in clips and (clips[column] != "").any():
            return column
    return ""


def _grouping(tested: Pooled) -> tuple[str, str]:
    """The column of the groups and the honest word for one: a culture known from a single corpus is a corpus group."""
    column = _group_column(tested.runs, tested.clips)
    if column != "culture":
        return column, column or "set of clips"
    pairs = tested.clips[["culture", "corpus"]].drop_duplicates()
    same = len(pairs) == pairs["culture"].nunique() == pairs["corpus"].nunique() > 1
    return column, "corpus group" if same else "culture"


def _unseen(tested: Pooled, word: str) -> str:
    protocol = tested.runs[0].fold_facts.get("protocol")
    held_out = protocol == "leave-one-group-out"
    if held_out:
        return f"clips of unseen {_plural(word)}"
    return "clips of unseen speakers" if protocol in SPEAKERS_APART and all(tested.speakers) else "unseen clips"


def _plural(word: str) -> str:
    """Several of what the word names.

    >>> _plural("culture"), _plural("corpus"), _plural("set of clips")
    ('cultures', 'corpora', 'sets of clips')
    """
    first, *rest = word.split(" ")
    return "corpora" if word == "corpus" else " ".join([f"{first}s", *rest]) if "of" in rest else f"{word}s"


def _facts(tested: Pooled, word: str) -> list[Json]:
    """What a reader must know before the first number, in order."""
    n_clips, unused = len(tested.truth), _unused(tested)
    return [
        {"label": "Data", "value": _data_in_words(_agreed([run.synthetic for run in tested.runs]))},
        {"label": "Clips", "value": f"{n_clips:,} tested; {_unused_in_words(unused)}"},
        {
            "label": "Seeds",
            "value": f"{len(tested.seeds)} ({', '.join(map(str, tested.seeds))}), averaged, not counted as samples",
        },
        {"label": "Folds", "value": _folds_in_words(tested, word)},
        {"label": "Selection", "value": _selection_in_words(tested.runs)},
        {"label": "Speakers", "value": _speakers_in_words(tested)},
        {
            "label": "Intervals",
            "value": f"95 %, bootstrap over {'speakers' if any(tested.speakers) else 'clips'} within each {word}; "
            f"means over {_plural(word)} are unweighted",
        },
    ]


def _data_in_words(synthetic: bool | None) -> str:
    return {
        True: "SYNTHETIC clips made by a generator: these figures say nothing about people",
        False: "recordings of people",
        None: "whether clips are recorded or synthetic was not noted by the runs",
    }[synthetic]


def _unused_in_words(unused: int) -> str:
    return (
        f"{unused:,} could not be used and count{'s' if unused == 1 else ''} as wrong"
        if unused
        else "all could be used"
    )


def _folds_in_words(tested: Pooled, word: str) -> str:
    folds = list(dict.fromkeys(run.fold for run in tested.runs))
    protocol = str(tested.runs[0].fold_facts.get("protocol", "protocol not noted")).replace("-", " ")
    protocol = protocol.replace("leave one group out", f"leave one {word} out")
    return f"{len(folds)}, {protocol} ({', '.join(folds)})"


def _selection_in_words(runs: Sequence[Run]) -> str:
    ensemble = sorted({str(run.settings.get("selection", "not noted")) for run in runs})
    checkpoint = sorted({str(run.recipe.get("training", {}).get("selection", "not noted")) for run in runs})
    words = f"checkpoint: {', '.join(checkpoint)}; mixture, levels, temperature and threshold: {', '.join(ensemble)}"
    return f"ORACLE, chosen on the test clips ({words})" if _is_oracle(runs) else words


def _folds(tested: Pooled, n_emotions: int) -> Json | None:
    """Each fold on its own where folds are a published division, or one of a corpus that papers report on."""
    published = published_for(set(tested.clips["corpus"]), n_emotions)
    if not published and tested.runs[0].fold_facts.get("protocol") != "official":
        return None
    return fold_table(tested.truth, tested.calls, tested.folds, published)


def _speakers_in_words(tested: Pooled) -> str:
    notes = {run.fold: str(run.fold_facts.get("note", "")) for run in tested.runs}
    sharing = [fold for fold, note in notes.items() if SPEAKERS_SHARED in note]
    if sharing:
        return (
            f"{SPEAKERS_SHARED} between training and test in {len(sharing)} of {len(notes)} published divisions: "
            "figures say nothing about people never seen"
        )
    known = [speaker for speaker in tested.speakers if speaker]
    if len(known) == len(tested.speakers):
        apart = tested.runs[0].fold_facts.get("protocol") in SPEAKERS_APART or all(
            run.fold_facts.get("speakers_known") for run in tested.runs
        )
        kept = "kept apart from training by the protocol" if apart else "whether training knows them was not checked"
        return f"known, {len(set(known)):,}; {kept}"
    if not known:
        return "speakers unknown: the same person may be in training and test, and intervals are too narrow"
    return (
        f"unknown for {len(tested.speakers) - len(known):,} of {len(tested.speakers):,} clips; intervals are too narrow"
    )


def _is_oracle(runs: Sequence[Run]) -> bool:
    return any(
        "oracle" in (run.settings.get("selection"), run.recipe.get("training", {}).get("selection")) for run in runs
    )


def _unused(tested: Pooled) -> int:
    return int((tested.calls["fused"] == UNUSED).all(axis=0).sum())


def _chance(tested: Pooled) -> float:
    """UAR of always calling one emotion, averaged over groups."""
    groups = np.asarray(tested.groups, dtype=object)
    return float(np.mean([1 / len(set(tested.truth[groups == group])) for group in set(tested.groups)]))


def _results(tested: Pooled, estimates: Mapping[str, Mapping[Metric, Estimates]]) -> list[Json]:
    groups = np.asarray(tested.groups, dtype=object)
    unused = (tested.calls["fused"] == UNUSED).all(axis=0)
    rows: list[Json] = []
    names = sorted(set(tested.groups))
    for group in [*names, None] if len(names) > 1 else names:
        inside = groups == group if group else np.ones(len(groups), dtype=bool)
        for kind, by_metric in estimates.items():
            chosen = {metric: each.cultures[group] if group else each.mean for metric, each in by_metric.items()}
            row: Json = {
                "group": group or f"mean of {len(names)}",
                "is_mean": group is None,
                "kind": kind,
                "n_clips": int(inside.sum()),
                "n_unused": int(unused[inside].sum()),
                "n_speakers": chosen["uar"].n_speakers if any(tested.speakers) else None,
                **{str(metric): _estimate(value) for metric, value in chosen.items()},
            }
            rows.append(row)
    return rows


def _comparisons(tested: Pooled) -> list[Json]:
    """Fused against each direction alone, on the same clips and resamples; Holm over the two."""
    calls = tested.calls
    found: dict[str, Difference] = {
        kind: paired(
            tested.truth,
            calls[kind],
            calls["fused"],
            tested.speakers,
            tested.groups,
            n_classes=tested.probabilities["fused"].shape[-1],
        )
        for kind in DIRECTIONS
        if all(direction in calls for direction in DIRECTIONS)
    }
    adjusted = holm({kind: each.p for kind, each in found.items() if not math.isnan(each.p)})
    return [
        {
            "name": f"fused − {kind}",
            "value": each.value,
            "low": each.low,
            "high": each.high,
            "p_holm": adjusted.get(kind),
            "improved": each.improved,
            "n_groups": each.n_cultures,
        }
        for kind, each in found.items()
    ]


def _recalls(tested: Pooled, emotions: Sequence[str]) -> list[Json]:
    """Recall of each emotion with the fused answer, over all clips and by group."""
    groups = np.asarray(tested.groups, dtype=object)
    names = sorted(set(tested.groups))
    rows = []
    for group in [*names, None] if len(names) > 1 else names:
        inside = groups == group if group else np.ones(len(groups), dtype=bool)
        truth = tested.truth[inside]
        found = np.mean([recalls(truth, calls[inside], len(emotions)) for calls in tested.calls["fused"]], axis=0)
        cells = [
            {"emotion": emotion, "recall": found[index], "n_clips": int((truth == index).sum())}
            for index, emotion in enumerate(emotions)
        ]
        rows.append({"group": group or "all clips", "is_mean": group is None, "cells": cells})
    return rows


def _group_gap(groups: Mapping[str, Estimate]) -> Json | None:
    if len(groups) < 2:
        return None
    best = max(groups, key=lambda name: groups[name].value)
    worst = min(groups, key=lambda name: groups[name].value)
    return {"best": best, "worst": worst, "value": groups[best].value - groups[worst].value}


def _genders(tested: Pooled, n_classes: int) -> list[Json]:
    """UAR of women and men in each group, and the gap; independent speakers, so resamples are drawn apart."""
    groups = np.asarray(tested.groups, dtype=object)
    genders = (
        tested.clips["gender"].str.lower().map(lambda name: {"f": "female", "m": "male"}.get(name, name)).to_numpy()
    )
    rows = []
    for group in sorted(set(tested.groups)):
        sides: dict[str, Estimate] = {}
        for seed, gender in enumerate(("female", "male")):
            chosen = np.flatnonzero((groups == group) & (genders == gender))
            if len(chosen):
                sides[gender] = bootstrap(
                    tested.truth[chosen],
                    tested.calls["fused"][:, chosen],
                    [tested.speakers[row] for row in chosen],
                    [group] * len(chosen),
                    n_classes=n_classes,
                    seed=seed,
                )["uar"].mean
        if len(sides) == 2:
            gap = difference(sides["male"], sides["female"])
            rows.append(
                {"group": group, **{name: _estimate(each) for name, each in sides.items()}, "gap": _estimate(gap)}
            )
    return rows


def _calibration(tested: Pooled) -> Json:
    """Confidence against accuracy, clips of all seeds together."""
    truth = np.tile(tested.truth, len(tested.seeds))
    by_kind = {
        kind: {
            "ece": expected_calibration_error(values.reshape(len(truth), -1), truth),
            "nll": negative_log_likelihood(values.reshape(len(truth), -1), truth),
            "bins": [asdict(each) for each in reliability(values.reshape(len(truth), -1), truth)],
        }
        for kind, values in tested.probabilities.items()
    }
    return {"kinds": by_kind, "abstention": _abstention(tested)}


def _abstention(tested: Pooled) -> Json | None:
    """Share of usable clips that get an emotion at each run's own threshold, and how many of those rightly."""
    answered = right = usable = 0
    for run in tested.runs:
        threshold = float(run.settings.get("abstain_below") or 0.0)
        clips = _test_clips(run)
        probabilities = clips[[PROBABILITY + emotion for emotion in run.emotions]].to_numpy(dtype=float)
        truth = clips["emotion"].map({emotion: index for index, emotion in enumerate(run.emotions)}).to_numpy()
        known = np.isfinite(probabilities).all(axis=1)
        sure = known & (np.where(known[:, None], probabilities, 0).max(axis=1) >= threshold)
        usable, answered = usable + int(known.sum()), answered + int(sure.sum())
        right += int((called(probabilities) == truth)[sure].sum())
    if not any(run.settings.get("abstain_below") for run in tested.runs) or not answered:
        return None
    return {"coverage": answered / usable, "accuracy": right / answered}


def _journals(runs: Sequence[Run]) -> list[Json]:
    """One curve per number and training run, over epochs; text and constant bookkeeping are left out."""
    curves: dict[str, list[Json]] = {}
    for run in runs:
        for direction in DIRECTIONS:
            path = run.folder / direction / "journal.csv"
            if not path.is_file():
                continue
            table = pd.read_csv(path)
            if "epoch" not in table:
                continue
            for column in table.select_dtypes("number").columns.drop("epoch"):
                known = table[["epoch", column]].dropna()
                if len(known):
                    curve = {"run": run.name, "direction": direction, "epochs": known["epoch"], "values": known[column]}
                    curves.setdefault(str(column), []).append(
                        {**curve, "epochs": known["epoch"].tolist(), "values": known[column].astype(float).tolist()}
                    )
    return [{"name": name, "curves": each} for name, each in curves.items()]


def _projections(runs: Sequence[Run], group: str) -> Json | None:
    """Pooled E and S of the first run that keeps them, on their two main axes (principal components)."""
    for run in runs:
        path = run.folder / "projections.npz"
        if not path.is_file():
            continue
        with np.load(path) as arrays:
            clip_ids = [str(clip) for clip in arrays["clip_id"]]
            vectors = {
                name: arrays[f"{name}_primitives"] for name in ("emotion", "style") if f"{name}_primitives" in arrays
            }
        facts = run.predictions.drop_duplicates("clip_id").set_index("clip_id")
        facts = facts[["emotion", *([group] if group else [])]].reindex(clip_ids).fillna("")
        return {
            "run": run.name,
            "emotions": facts["emotion"].tolist(),
            "groups": facts[group].tolist() if group else [""] * len(facts),
            "points": {name: _two_axes(values) for name, values in vectors.items()},
        }
    return None


def _two_axes(vectors: Shaped[np.ndarray, "N C"]) -> list[list[float]]:
    known = np.isfinite(vectors).all(axis=1)
    points = np.full((len(vectors), 2), np.nan)
    if known.any():
        centred = vectors[known].astype(float) - vectors[known].mean(axis=0, dtype=float)
        left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
        points[known, : min(2, left.shape[1])] = (left * sizes)[:, :2]
    return np.round(points, 4).tolist()


def _probes(runs: Sequence[Run]) -> Json | None:
    """What probes read from E and S, in percent; mean over runs of each cell."""
    tables = [pd.DataFrame(rows) for run in runs if (rows := _json_list(run.folder / "probes.json"))]
    if not tables:
        return None
    together = pd.concat(tables)
    keys = [key for key in ("version", "target", "representation", "probe") if key in together]
    figures = [name for name in ("accuracy", "low", "high", "chance", "score") if name in together]
    together[figures] = 100 * together[figures].apply(pd.to_numeric)
    rows = together.groupby(keys, sort=False)[figures].mean().reset_index()
    return {"n_runs": len(tables), "rows": rows.to_dict("records")}


def _baselines(runs: Sequence[Run]) -> list[Json] | None:
    """Other rows of the bench that the runs belong to, in percent, as it wrote them."""
    path = runs[0].folder.parent / "baselines.csv"
    return pd.read_csv(path).to_dict("records") if path.is_file() else None


def _estimate(estimate: Estimate) -> Json:
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "n_clips": estimate.n_clips,
        "n_speakers": estimate.n_speakers,
    }


def _seed(environment: Json, recipe: Json) -> int:
    seeds = recipe.get("seeds") or [0]
    return int(environment.get("seed", seeds[0]))


def _synthetic(folder: Path, environment: Json) -> bool | None:
    if "synthetic" in environment:
        return bool(environment["synthetic"])
    for direction in DIRECTIONS:
        specifications = _json(folder / direction / "config.json").get("specifications", {})
        if "synthetic" in specifications:
            return bool(specifications["synthetic"])
    return None


def _agreed(values: Sequence[bool | None]) -> bool | None:
    """Synthetic if any is; recorded only if all say so."""
    if any(values):
        return True
    return None if None in values else False


def _json(path: Path) -> Json:
    return _mapping(path, json.loads)


def _yaml(path: Path) -> Json:
    return _mapping(path, yaml.safe_load)


def _mapping(path: Path, parse: Any) -> Json:
    if not path.is_file():
        return {}
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise RecipeError(f"`{path}` cannot be read: {error}\n\nhint: the run was interrupted; run it again") from error
    if not isinstance(found, dict):
        raise RecipeError(f"`{path}` holds no named values\n\nhint: the file was changed by hand; run it again")
    return found


def _json_list(path: Path) -> list[Json]:
    if not path.is_file():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))
    return list(found.get("rows", [])) if isinstance(found, dict) else list(found)


def _plain(value: Any) -> Any:
    """The same as plain JSON values; what is not a number becomes None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
