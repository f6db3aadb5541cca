"""What encoders may have met in their own training, as far as their authors state it.

A held-out corpus is unseen by an encoder whose authors name all of its data and not this corpus, or which was never
trained. Anything else is unknown: a data set gathered from the web may hold any published recording.
"""

from typing import Literal

EMBEDDED = ("filterbank", "functionals", "functionals-windowed", "handmade", "hog", "prosody", "spectral")
"""Encoders without weights."""
ALL_DATA_NAMED = ("wavlm-large", "vjepa2", "videomae-base")
"""Presets whose authors name all data, among which there is no corpus that this project reads."""


def knowledge_of(encoder: str) -> Literal["unseen", "unknown"]:
    """Whether the corpora that this project reads are unseen by an encoder, by its name or that of its preset.

    >>> knowledge_of("hog"), knowledge_of("wavlm-large"), knowledge_of("moonshine")
    ('unseen', 'unseen', 'unknown')
    """
    return "unseen" if encoder in (*EMBEDDED, *ALL_DATA_NAMED) else "unknown"
