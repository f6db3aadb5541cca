"""Which other windows tell the style of the person in a window, and what becomes of the answers.

    recording   other windows of the same lane of the same recording
    person      windows of all recordings that are read together, taken for one person
    study       the same, taken for several people of one place: what they share is shrunk more
    none        every window alone

A window is never in its own support, nor is one that shares a sample with it or what its encoder listened to. Windows
of the support are spread evenly over the recording and do not overlap, so that the same second does not count twice.
All this looks at unlabelled windows of the recording under test: it is transductive, and every export says so.

Axes: N windows, M windows in the support, D width, K emotions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Float32

from cimeu.errors import RecipeError, guess
from cimeu.model.classifier import Clip, StyleReader

Scope = Literal["recording", "person", "study", "none"]
SCOPES: tuple[str, ...] = get_args(Scope)
MOST_SUPPORT = 64
"""Windows of one recording; more tell nothing new."""
STUDY_SHRINK = 10.0
"""Windows that several people must share before half of what they share is taken for their common style."""
ONE_EMOTION = 0.7
"""A support whose mean posterior of one emotion is above this looks like that emotion alone."""


@dataclass(frozen=True)
class Windows:
    """Windows of one lane that were answered, in order of time."""

    numbers: tuple[int, ...]
    x: Float32[np.ndarray, "N D"]
    reach_s: Float[np.ndarray, "N 2"]
    """From when to when the encoders listened."""
    probabilities: Float[np.ndarray, "N K"]
    """Of each window alone."""
    clips: Sequence[Clip] = ()
    """The windows themselves, for models that read them again."""

    def support(self) -> "Support":
        """Windows that share nothing with each other, evenly spread."""
        kept: list[int] = []
        for row in np.flatnonzero(np.isfinite(self.x).any(axis=1)).tolist():
            # Encoders listen beyond their window: windows that overlap in what was heard count as one.
            if not kept or self.reach_s[row, 0] >= self.reach_s[kept[-1], 1] - 1e-6:
                kept.append(row)
        if len(kept) > MOST_SUPPORT:
            kept = [kept[place] for place in np.linspace(0, len(kept) - 1, MOST_SUPPORT).round().astype(int)]
        return Support(self.x[kept], self.reach_s[kept], self.probabilities[kept])


@dataclass(frozen=True)
class Support:
    """Unlabelled windows from which a style may be read."""

    x: Float32[np.ndarray, "M D"]
    reach_s: Float[np.ndarray, "M 2"]
    probabilities: Float[np.ndarray, "M K"]

    def apart_from(self, windows: Windows) -> Bool[np.ndarray, "N M"]:
        """Which of them share nothing with each of these windows of the same recording."""
        starts, ends = windows.reach_s.T[..., None]
        return (self.reach_s[:, 0] >= ends - 1e-6) | (self.reach_s[:, 1] <= starts + 1e-6)


@dataclass(frozen=True)
class Adapted:
    """What a style made of the answers of a lane."""

    rows: Mapping[int, int]
    """Place of each window by its number."""
    probabilities: Float[np.ndarray, "N K"]
    styles: Float32[np.ndarray, "N D"]
    trust: Float32[np.ndarray, " N"]
    """Weight of each style, 0 to 1."""
    n_windows: int
    """In the support, those that are left out for single windows included."""
    looks_like: int | None
    """Number of the emotion that the whole support resembles."""


def scope_named(name: str) -> Scope:
    """The scope itself. Raises RecipeError with a guess."""
    if name not in SCOPES:
        raise RecipeError(f"unknown scope `{name}` of style\n\nhint: {guess(name, SCOPES)}")
    return name  # type: ignore[return-value]


def adapt(reader: StyleReader, windows: Windows, others: Sequence[Support] = (), *, scope: Scope) -> Adapted:
    """Answers of a lane given the style of its person, from its own windows and those of other recordings."""
    own = windows.support()
    parts = [own, *others]
    pool = np.concatenate([part.x for part in parts])
    # Windows of other recordings share no samples with these by construction.
    elsewhere = np.ones((len(windows.numbers), len(pool) - len(own.x)), bool)
    marked = np.concatenate([own.apart_from(windows), elsewhere], axis=1)
    shrink = STUDY_SHRINK if scope == "study" else None
    given = reader.adapt(windows.x, pool, marked, windows.clips, alone=windows.probabilities, shrink=shrink)
    mix = np.concatenate([part.probabilities for part in parts]).mean(axis=0) if len(pool) else np.zeros(1)
    rows = {number: row for row, number in enumerate(windows.numbers)}
    looks_like = int(mix.argmax()) if mix.max() > ONE_EMOTION else None
    return Adapted(rows, given.probabilities, given.styles, given.trust, len(pool), looks_like)
