"""Support sets: other clips of the same person, without labels, drawn as they will be met.

    natural   any other clips of the person, fewer where there are fewer
    even      equally many of each emotion
    skewed    70 % of one emotion, the rest any other
    single    one emotion only: `own` the emotion of the scored clip, `other` any other one

A mix is drawn without regard to the emotion of the scored clip (but for `own` and `other`, which are reported beside
each other). A person who cannot fill it gives no figure, instead of one on a smaller or more even set. Labels are
needed to *draw* skewed and single supports, never to use them: they are conditions of an experiment.

Axes: N clips, K emotions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

Mix = Literal["natural", "even", "skewed", "own", "other"]
SKEW = 0.7
"""Share of one emotion in a skewed support."""
SIZES = (0, 3, 5, 10, 20)
"""Sizes of supports in training."""


@dataclass(frozen=True)
class Condition:
    """How many support clips, and of what."""

    size: int
    mix: Mix = "natural"

    def __str__(self) -> str:
        return f"{self.mix}-{self.size}" if self.size else "alone"


@dataclass(frozen=True)
class People:
    """Who is heard in each clip, and with which emotion."""

    person: Int[np.ndarray, " N"]
    """A number for each person, -1 where unknown: such a clip has no support."""
    emotion: Int[np.ndarray, " N"]
    n_emotions: int

    @classmethod
    def of(cls, names: Sequence[str], emotion: Int[np.ndarray, " N"], n_emotions: int) -> "People":
        """Number people by name; an empty name is unknown."""
        numbers = {name: number for number, name in enumerate(sorted({name for name in names if name}))}
        return cls(np.array([numbers.get(name, -1) for name in names]), emotion, n_emotions)

    def others(self, clip: int) -> Int[np.ndarray, " n"]:
        """Other clips of the person in a clip."""
        # Two unknown speakers may be two people: no support is better than a wrong one.
        if self.person[clip] < 0:
            return np.zeros(0, int)
        same = np.flatnonzero(self.person == self.person[clip])
        return same[same != clip]


@dataclass(frozen=True)
class Strangers(People):
    """The same clips, where a support holds other people of the same culture."""

    culture: Int[np.ndarray, " N"]
    """A number for each culture."""

    def others(self, clip: int) -> Int[np.ndarray, " n"]:
        """Clips of other people of the culture; a clip whose person is unknown may be anybody's."""
        stranger = (self.person != self.person[clip]) | (self.person < 0)
        same = np.flatnonzero((self.culture == self.culture[clip]) & stranger)
        return same[same != clip]


def draw(
    people: People, clip: int, condition: Condition, generator: np.random.Generator
) -> Int[np.ndarray, " n"] | None:
    """Support of one clip; None where the person cannot fill the mix."""
    others, size = people.others(clip), condition.size
    if condition.mix == "natural" or not size:
        return generator.choice(others, min(size, len(others)), replace=False)
    of_emotion = [others[people.emotion[others] == emotion] for emotion in range(people.n_emotions)]
    match condition.mix:
        case "even":
            fewest, rest = divmod(size, people.n_emotions)
            # Whoever could fill one draw and not the next would make draws differ in their clips.
            if min(map(len, of_emotion)) < fewest + bool(rest):
                return None
            counts = np.full(people.n_emotions, fewest)
            # What does not divide evenly goes to emotions drawn by chance, or the first ones would always have more.
            counts[generator.permutation(people.n_emotions)[:rest]] += 1
            parts_of = zip(of_emotion, counts, strict=True)
            return np.concatenate([generator.choice(clips, count, replace=False) for clips, count in parts_of])
        case "skewed":
            n_frequent = round(SKEW * size)
            fitting = [
                emotion
                for emotion, clips in enumerate(of_emotion)
                if len(clips) >= n_frequent and len(others) - len(clips) >= size - n_frequent
            ]
            if not fitting:
                return None
            chosen = int(generator.choice(fitting))
            rest = others[people.emotion[others] != chosen]
            parts = ((of_emotion[chosen], n_frequent), (rest, size - n_frequent))
            return np.concatenate([generator.choice(clips, count, replace=False) for clips, count in parts])
        case "own" | "other":
            own = int(people.emotion[clip])
            allowed = [own] if condition.mix == "own" else [e for e in range(people.n_emotions) if e != own]
            fitting = [emotion for emotion in allowed if len(of_emotion[emotion]) >= size]
            if not fitting:
                return None
            return generator.choice(of_emotion[int(generator.choice(fitting))], size, replace=False)


def draw_all_for_training(people: People, generator: np.random.Generator) -> list[Int[np.ndarray, " _"]]:
    """A support for every training clip."""
    return [draw_for_training(people, clip, SIZES, generator) for clip in range(len(people.person))]


def draw_for_training(
    people: People, clip: int, sizes: Sequence[int], generator: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """A support of a training clip: a size and a mix (natural, skewed or single) by chance, as far as it can be
    filled. The classifier that learns from it meets every kind."""
    others, size = people.others(clip), int(generator.choice(sizes))
    if not size or not len(others):
        return others[:0]
    mix = generator.choice(("natural", "skewed", "single"))
    emotions = people.emotion[others]
    # Among the emotions the person has, each as likely: not by how many clips it has.
    chosen = generator.choice(np.unique(emotions))
    if mix == "single":
        others = others[emotions == chosen]
    weights = np.ones(len(others))
    if mix == "skewed":
        inside = emotions == chosen
        weights = np.where(inside, SKEW / max(1, inside.sum()), (1 - SKEW) / max(1, (~inside).sum()))
    return generator.choice(others, min(size, len(others)), replace=False, p=weights / weights.sum())
