"""What order and averaging of Moonshine's hidden states are worth to a linear model on cultures never seen.

    python benchmarks/speech_states.py $CIMEU_DATA/speech/manifest.csv --features build/speech_states

One logistic regression per view of a clip, leave one culture out. Its strength, and for each kind of view the number of
states averaged to a step, are chosen on cultures held out of the training cultures (`inner`); the column `outer` only
reports. Views: the mean over time; mean, deviation and change between halves of the steps; a mean that weighs the end
of a clip more, its flip in time (which weighs the beginning more), and both fused; the same mean from reversed speech.
"""

import argparse
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cimeu.cli.terminal import progress_bars
from cimeu.corpora.manifest import read_manifest
from cimeu.encoders.base import SOUND_RATE_HZ
from cimeu.encoders.moonshine import SAMPLES_PER_STATE, Moonshine
from cimeu.features.extract import extract, store_name
from cimeu.features.store import FeatureStore, key_of

POOLS = (1, 4, 7, 14)
STRENGTHS = (0.001, 0.003, 0.01, 0.03)
MEMORY_S = 0.5
"""Time constant of the mean that weighs the end more."""


class Clips(NamedTuple):
    """Labels `[N]`, cultures `[N]`, and hidden states `[T, D]` of each clip by direction."""

    emotion: np.ndarray
    culture: np.ndarray
    states: Mapping[str, list[np.ndarray]]


def read_clips(manifest_path: Path, features: Path, workers: int) -> Clips:
    """Every state of every usable clip, forward and of reversed speech."""
    manifest, encoder = read_manifest(manifest_path), Moonshine(pool=1)
    with progress_bars() as progress:
        extract(manifest, [encoder], features, workers=workers, progress=progress)
    store = FeatureStore.open(features / store_name(encoder))
    clips = [clip for clip in manifest.clips() if not clip.problem]
    states = {
        direction: [store.get(key_of(clip, store.description, direction)).features for clip in clips]
        for direction in ("forward", "backward")
    }
    labels = (np.array([getattr(clip, column) for clip in clips]) for column in ("emotion", "culture"))
    return Clips(*labels, states)


def steps_of(states: np.ndarray, pool: int) -> np.ndarray:
    """States `[T, D]` averaged to steps `[S, D]`; the last one may hold fewer."""
    edges = range(0, len(states), pool)
    return np.stack([states[edge : edge + pool].mean(axis=0) for edge in edges])


def moments(states: np.ndarray, pool: int) -> np.ndarray:
    """Mean, deviation and change from the first to the second half of the steps."""
    steps = steps_of(states, pool)
    half = len(steps) // 2 or 1
    change = steps[-half:].mean(axis=0) - steps[:half].mean(axis=0)
    return np.concatenate([steps.mean(axis=0), steps.std(axis=0), change])


def recent(states: np.ndarray) -> np.ndarray:
    """Mean that weighs the end of the clip more."""
    ages_s = np.arange(len(states))[::-1] * SAMPLES_PER_STATE / SOUND_RATE_HZ
    return np.average(states, axis=0, weights=np.exp(-ages_s / MEMORY_S))


def scores(view: np.ndarray, clips: Clips, strength: float) -> dict[frozenset[str], np.ndarray]:
    """Probabilities by models trained without one culture, and without two."""
    cultures = np.unique(clips.culture)
    result = {}
    for held_out in [*combinations(cultures, 1), *combinations(cultures, 2)]:
        train = ~np.isin(clips.culture, held_out)
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=strength, max_iter=300, tol=1e-3, class_weight="balanced")
        )
        model.fit(view[train], clips.emotion[train])
        result[frozenset(held_out)] = model.predict_proba(view)
    return result


def uar(probabilities: np.ndarray, clips: Clips, culture: str) -> float:
    """Mean recall on a culture, in percent."""
    there = clips.culture == culture
    predicted = np.unique(clips.emotion)[probabilities[there].argmax(axis=1)]
    return 100 * float(balanced_accuracy_score(clips.emotion[there], predicted))


def nested(candidates: Mapping[str, dict[frozenset[str], np.ndarray]], clips: Clips) -> str:
    """The line of a view: the mean `inner` of what was chosen, `outer` by culture, and the choices."""
    inner, outer, chosen = [], [], []
    cultures = np.unique(clips.culture)
    for culture in cultures:
        others = [other for other in cultures if other != culture]
        by_candidate = {
            name: np.mean([uar(without[frozenset((culture, other))], clips, other) for other in others])
            for name, without in candidates.items()
        }
        best = max(by_candidate, key=lambda name: by_candidate[name])
        inner.append(by_candidate[best])
        outer.append(uar(candidates[best][frozenset((culture,))], clips, culture))
        chosen.append(best)
    by_culture = " ".join(f"{value:8.1f}" for value in outer)
    return f"{np.mean(inner):6.1f} {np.mean(outer):6.1f} {min(outer):6.1f}  {by_culture}  {', '.join(chosen)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--features", type=Path, default=Path("build/speech_states"))
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    clips = read_clips(given.manifest, given.features, given.workers)
    forward, backward = clips.states["forward"], clips.states["backward"]
    single = {
        "mean over time": {"": [states.mean(axis=0) for states in forward]},
        **{f"moments, {pool} states a step": {f"{pool} ": [moments(each, pool) for each in forward]} for pool in POOLS},
        "end weighs more": {"": [recent(states) for states in forward]},
        "its flip in time": {"": [recent(states[::-1]) for states in forward]},
        "mean of reversed speech": {"": [states.mean(axis=0) for states in backward]},
    }
    cultures = " ".join(f"{culture[:8]:>8s}" for culture in np.unique(clips.culture))
    print(f"{'view':28s} {'inner':>6s} {'outer':>6s} {'worst':>6s}  {cultures}  chosen")
    results: dict[str, dict[str, dict[frozenset[str], np.ndarray]]] = {}
    for name, views in single.items():
        results[name] = {
            f"{prefix}C={strength:g}": scores(np.stack(view), clips, strength)
            for prefix, view in views.items()
            for strength in STRENGTHS
        }
        print(f"{name:28s} {nested(results[name], clips)}", flush=True)
    steps = {key: value for name in results if name.startswith("moments") for key, value in results[name].items()}
    print(f"{'moments, chosen':28s} {nested(steps, clips)}")
    for one, other in (("end weighs more", "its flip in time"), ("mean over time", "mean of reversed speech")):
        fused = {
            key: {
                held_out: results[one][key][held_out] + results[other][key][held_out] for held_out in results[one][key]
            }
            for key in results[one]
        }
        print(f"{'both: ' + other:28s} {nested(fused, clips)}")


if __name__ == "__main__":
    main()
