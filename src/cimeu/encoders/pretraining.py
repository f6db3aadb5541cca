"""What encoders may have met in their own training, as far as their authors state it.

A held-out corpus is unseen by an encoder that was never trained, or whose authors name all of its data and neither this
corpus nor the kind of place it was gathered from. Anything else is unknown: a data set gathered from the web may hold
any published recording. Seen are the corpora that encoders were fine-tuned on.

Sources: papers of the encoders; model pages of the hub for fine-tuned ones; GigaSpeech (Interspeech 2021) holds
podcasts and videos of YouTube, as do the sources of MSP-Podcast and Aff-Wild2.
"""

from typing import Literal

Knowledge = Literal["seen", "unknown", "unseen"]
EMBEDDED = ("filterbank", "functionals", "functionals-windowed", "handmade", "hog", "prosody", "spectral")
"""Encoders without weights."""
ALL_DATA_NAMED = {"wavlm-large": ("msppodcast", "affwild2"), "vjepa2": ("affwild2",), "videomae-base": ("affwild2",)}
"""Presets whose authors name all data, among which there is no corpus that this project reads; with corpora of which
recordings may be among them all the same, for both were gathered from podcasts or from YouTube."""
FINE_TUNED_ON = {
    "wav2vec2-large-robust-12-ft-emotion-msp-dim": ("msppodcast",),
    "wav2vec2-base-superb-er": ("iemocap",),
    "wav2vec2-large-superb-er": ("iemocap",),
    "hubert-base-superb-er": ("iemocap",),
    "hubert-large-superb-er": ("iemocap",),
}
"""Corpora by the name of an encoder on the hub, which is that of its folder."""


def knowledge_of(encoder: str, corpus: str) -> Knowledge:
    """What is stated about a corpus and the training of an encoder, by its name, that of its preset or its folder.

    >>> knowledge_of("hog", "iemocap"), knowledge_of("hubert-large-superb-er", "iemocap")
    ('unseen', 'seen')
    >>> knowledge_of("wavlm-large", "iemocap"), knowledge_of("wavlm-large", "msppodcast")
    ('unseen', 'unknown')
    """
    if corpus in FINE_TUNED_ON.get(encoder, ()):
        return "seen"
    named = encoder in ALL_DATA_NAMED and corpus not in ALL_DATA_NAMED[encoder]
    return "unseen" if encoder in EMBEDDED or named else "unknown"


def known_of(encoders: tuple[str, ...], corpus: str) -> Knowledge:
    """As `knowledge_of` of several encoders that are used together: what one has seen, all have."""
    order: tuple[Knowledge, ...] = ("seen", "unknown", "unseen")
    return min((knowledge_of(encoder, corpus) for encoder in encoders), key=order.index)
