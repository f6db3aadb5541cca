"""The same person after a cut: only what a face looks like can tell, so somebody must supply that measure.

Without an `Identity` a shot cut ends every person. With one, a person who comes back gets the earlier name if their
mean embeddings are alike and the two are never seen at once.

Axes: S side of a crop, D width of an embedding.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

LOOKS = 8
"""A person is looked at this often at most,"""
LOOK_EVERY_S = 0.5
"""and not more often than this."""


@runtime_checkable
class Identity(Protocol):
    """Anything that says how alike two faces are."""

    @property
    def name(self) -> str:
        """Which measure; stands in every export, and another one makes finished results anew."""
        ...

    @property
    def same_above(self) -> float:
        """Cosine of two embeddings from which on they are one person."""
        ...

    def __call__(self, crop: UInt8[np.ndarray, "S S 3"]) -> Float[np.ndarray, " D"]:
        """Embedding of one steady crop of a face."""
        ...


class Portrait:
    """Mean embedding of a few looks at one face."""

    def __init__(self, identity: Identity, rate_hz: float) -> None:
        self._identity, self._every = identity, LOOK_EVERY_S * rate_hz
        self._next, self._looks = 0.0, 0
        self._sum: np.ndarray | None = None

    def add(self, index: int, crop: UInt8[np.ndarray, "S S 3"]) -> None:
        """Look, if it is time to."""
        if self._looks == LOOKS or index < self._next:
            return
        embedding = self._identity(crop)
        unit = embedding / max(float(np.linalg.norm(embedding)), 1e-9)
        self._sum = unit if self._sum is None else self._sum + unit
        self._looks, self._next = self._looks + 1, index + self._every

    def likeness(self, other: "Portrait") -> float:
        """Cosine of both means; -1 where one was never looked at."""
        if self._sum is None or other._sum is None:
            return -1.0
        return float(self._sum @ other._sum / max(np.linalg.norm(self._sum) * np.linalg.norm(other._sum), 1e-9))


def one_people(
    portraits: Mapping[str, Portrait], seen: Mapping[str, set[int]], same_above: float
) -> dict[str, tuple[str, ...]]:
    """Faces that are one person, by the name of the first; `seen` says in which stretches each is there."""
    people: dict[str, tuple[str, ...]] = {}
    for name in seen:
        free = [first for first, faces in people.items() if not any(seen[face] & seen[name] for face in faces)]
        alike = {first: max(portraits[face].likeness(portraits[name]) for face in people[first]) for first in free}
        best = max(alike, key=alike.__getitem__, default=None)
        if best is not None and alike[best] >= same_above:
            people[best] = (*people[best], name)
        else:
            people[name] = (name,)
    return people
