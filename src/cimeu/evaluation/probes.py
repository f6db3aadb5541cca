"""What can still be read from the emotion and style primitives, by classifiers trained on nothing else.

Nothing guarantees that E holds emotion and S holds style: these probes decide. A logistic and a one-hidden-layer probe
are trained on the pooled vectors of a fold's training clips and tested on its validation speakers, whom neither
encoder has seen, with every class weighing the same. Beside them stand chance, the same probe on the raw pooled
features and on an untrained encoder. The score tells how much of what the raw features hold is kept:

    score = (probe - chance) / (raw - chance)      n/a where the interval of `raw` holds chance

Wanted: emotion high in E and low in S, group low in E and high in S. A second version splits the speakers of the
held-out group in half, trains on one half as well and tests on the other as well.

Axes: N clips, D features.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from cimeu.evaluation.uncertainty import bootstrap
from cimeu.model.pooling import Standardiser

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

Kind = Literal["logistic", "hidden"]
KINDS: tuple[Kind, ...] = ("logistic", "hidden")
RAW = "raw"
HIDDEN_UNITS = 64
RESAMPLES = 1000


@dataclass(frozen=True)
class Probed:
    """One probe: balanced accuracy on clips of unseen speakers, its 95 % interval over speakers, and chance."""

    accuracy: float
    low: float
    high: float
    chance: float
    classes: int
    n_train: int
    n_test: int

    @property
    def beats_chance(self) -> bool:
        """Whether the interval lies above chance."""
        return self.low > self.chance


@dataclass(frozen=True)
class ProbeClips:
    """Clips to probe: named representations of them (`raw` among them) and what is known of each clip.

    Labels are indices; -1 is unknown and left out. Speakers of different corpora need different names.
    """

    representations: Mapping[str, Float[np.ndarray, "N _"]]
    emotion: Int[np.ndarray, " N"]
    group: Int[np.ndarray, " N"]
    speaker: Sequence[str]

    def take(self, chosen: Bool[np.ndarray, " N"]) -> "ProbeClips":
        """The chosen clips."""
        return ProbeClips(
            {name: vectors[chosen] for name, vectors in self.representations.items()},
            self.emotion[chosen],
            self.group[chosen],
            [speaker for speaker, kept in zip(self.speaker, chosen, strict=True) if kept],
        )

    def joined(self, other: "ProbeClips") -> "ProbeClips":
        """These clips followed by the others."""
        return ProbeClips(
            {name: np.concatenate([mine, other.representations[name]]) for name, mine in self.representations.items()},
            np.concatenate([self.emotion, other.emotion]),
            np.concatenate([self.group, other.group]),
            [*self.speaker, *other.speaker],
        )


def probe(
    train_x: Float[np.ndarray, "N D"],
    train_y: Int[np.ndarray, " N"],
    test_x: Float[np.ndarray, "V D"],
    test_y: Int[np.ndarray, " V"],
    *,
    speakers: Sequence[str],
    kind: Kind = "logistic",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Probed | None:
    """Train a probe and test it, every class weighing the same on both sides.

    Only classes that both sides know count, so chance is one over their number; `speakers` are those of the test
    clips, resampled whole for the interval. None where fewer than two classes are left.
    """
    from sklearn.exceptions import ConvergenceWarning

    classes = np.intersect1d(train_y[train_y >= 0], test_y[test_y >= 0])
    if len(classes) < 2:
        return None
    train, test = np.isin(train_y, classes), np.isin(test_y, classes)
    # Statistics of the training part alone; those of test clips would leak their group.
    standardiser = Standardiser.of(train_x[train].astype(np.float64))
    inputs, labels = standardiser.apply(train_x[train].astype(np.float64)), train_y[train]
    # Balanced weights: a probe that always answers the largest class must not look good.
    weights = (len(labels) / len(classes) / np.bincount(labels)[labels]).astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the hidden layer has a fixed budget of epochs
        model = _untrained(kind, seed).fit(inputs, labels, sample_weight=weights)
    truth = test_y[test]
    estimate = bootstrap(
        truth,
        model.predict(standardiser.apply(test_x[test].astype(np.float64)))[None],
        [speaker for speaker, kept in zip(speakers, test, strict=True) if kept],
        ["everywhere"] * len(truth),
        n_classes=int(classes.max()) + 1,
        n_resamples=resamples,
        seed=seed,
    )["uar"].mean
    chance = 1 / len(classes)
    return Probed(estimate.value, estimate.low, estimate.high, chance, len(classes), len(labels), len(truth))


def probe_table(
    train: ProbeClips,
    validation: ProbeClips,
    held_out: ProbeClips | None = None,
    *,
    kinds: Sequence[Kind] = KINDS,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[dict[str, object]]:
    """Every representation probed for emotion and for group, one JSON-ready row each.

    A row has `version` (`unseen speakers`, or `with the held-out group`), `target`, `representation`, `probe`, the
    fields of `Probed` and `score`; what cannot be measured is None (printed as n/a).
    """
    versions = {"unseen speakers": (train, validation)}
    if held_out is not None:
        first, second = halves(held_out, seed)
        versions["with the held-out group"] = (train.joined(first), validation.joined(second))
    rows: list[dict[str, object]] = []
    for version, (training, tested) in versions.items():
        for target in ("emotion", "group"):
            for kind in kinds:
                results = {
                    name: probe(
                        vectors,
                        getattr(training, target),
                        tested.representations[name],
                        getattr(tested, target),
                        speakers=tested.speaker,
                        kind=kind,
                        seed=seed,
                        resamples=resamples,
                    )
                    for name, vectors in training.representations.items()
                }
                raw = results[RAW]
                for name, result in results.items():
                    probed = {"version": version, "target": target, "representation": name, "probe": kind}
                    rows.append({**probed, **_fields(result), "score": score(result, raw)})
    return rows


def score(result: Probed | None, raw: Probed | None) -> float | None:
    """Share of what the raw features tell that a representation tells; None where the raw features tell nothing."""
    if result is None or raw is None or not raw.beats_chance:
        return None
    return (result.accuracy - result.chance) / (raw.accuracy - raw.chance)


def halves(clips: ProbeClips, seed: int = 0) -> tuple[ProbeClips, ProbeClips]:
    """Split the speakers of the clips in two halves, drawn with `seed`; no speaker is in both."""
    speakers = np.unique(np.asarray(clips.speaker))
    first = np.random.default_rng(seed).permutation(speakers)[: len(speakers) // 2]
    chosen: Bool[np.ndarray, " N"] = np.isin(np.asarray(clips.speaker), first)
    return clips.take(chosen), clips.take(~chosen)


def _untrained(kind: Kind, seed: int) -> "LogisticRegression | MLPClassifier":
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    if kind == "logistic":
        return LogisticRegression(C=0.1, max_iter=2000, random_state=seed)
    return MLPClassifier((HIDDEN_UNITS,), alpha=1e-2, learning_rate_init=3e-3, max_iter=60, tol=0.0, random_state=seed)


def _fields(result: Probed | None) -> dict[str, object]:
    if result is None:
        return dict.fromkeys(Probed.__dataclass_fields__, None)
    return asdict(result)
