"""Corpora that are known to hold each other's recordings, though no name shows it.

A model that is trained on one and tested on the other has seen its test clips. Counts are those of published figures;
where identity is inferred from counts that add up, the sentence says so. `cimeu overlap` compares the recordings
themselves.
"""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Inclusion:
    """Recordings of `inner` that are in `outer` too."""

    outer: str
    inner: str
    clips: int
    evidence: str

    def __str__(self) -> str:
        return f"`{self.outer}` holds {self.clips:,} clips of `{self.inner}` ({self.evidence})"


_ADDS_UP = "inferred: 3,373 + 411 + 412 + 834 = 5,030 and 5,030 + 1,169 + 1,170 = 7,369"
_MEMBER = "at most: it is a member of the collection"
INCLUSIONS = (
    Inclusion("mafw", "dfew", 1097, "stated by comparison of both corpora"),
    Inclusion("mafw", "afew", 98, "stated by comparison of both corpora"),
    Inclusion("cameo", "cremad", 7442, _MEMBER),
    Inclusion("cameo", "ravdess", 1440, _MEMBER),
    Inclusion("cameo", "enterface", 1287, _MEMBER),
    Inclusion("cameo", "nemo", 4481, _MEMBER),
    Inclusion("cameo", "cafe", 936, _MEMBER),
    Inclusion("cameo", "jl", 2400, _MEMBER),
    Inclusion("cameo", "subesco", 7000, _MEMBER),
    Inclusion("mer2024", "mer2023", 5030, _ADDS_UP),
    Inclusion("mer2025", "mer2023", 5030, _ADDS_UP),
    Inclusion("mer2025", "mer2024", 7369, _ADDS_UP),
    Inclusion("chsims", "chsims-v1", 2281, "version 2 extends version 1"),
)


def inclusions_of(corpus: str) -> list[Inclusion]:
    """Those that concern a corpus: what it holds, and what holds it."""
    return [inclusion for inclusion in INCLUSIONS if corpus in (inclusion.outer, inclusion.inner)]


def inclusions_among(corpora: Collection[str]) -> list[Inclusion]:
    """Those between corpora that are used together."""
    return [inclusion for inclusion in INCLUSIONS if inclusion.outer in corpora and inclusion.inner in corpora]
