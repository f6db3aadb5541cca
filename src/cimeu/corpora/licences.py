"""Terms of what goes into a model: they follow it wherever it goes.

Terms of corpora are those that their publishers state, as `NOTICES.md` lists them; what is not known is called unknown.
"""

from collections.abc import Iterable

from cimeu.corpora.adapters.registry import TERMS
from cimeu.encoders.presets import PRESETS
from cimeu.encoders.pretraining import EMBEDDED
from cimeu.encoders.weights import WEIGHTS

UNKNOWN = "unknown to CiMEU: ask whoever collected it, and keep the consent terms of the people recorded"

FOREIGN = "not part of CiMEU: the terms of its weights are those of whoever published them"


FREE = ("CC", "ODbL", "MIT")
"""What terms begin with that let everybody pass on what was made from a corpus, if under conditions."""


def restricted(corpora: Iterable[str]) -> dict[str, str]:
    """Terms by corpus, of those corpora whose terms do not say that a model of them may be given away."""
    terms = {corpus: TERMS.get(corpus, UNKNOWN) for corpus in corpora}
    return {corpus: text for corpus, text in terms.items() if not text.startswith(FREE)}


def cautions(encoders: Iterable[str]) -> list[str]:
    """What stands against some uses of frozen encoders, by their keys in `WEIGHTS`: one sentence each."""
    return list(
        dict.fromkeys(
            WEIGHTS[encoder].caution for encoder in encoders if encoder in WEIGHTS and WEIGHTS[encoder].caution
        )
    )


def licences(corpora: Iterable[str], encoders: Iterable[str]) -> list[str]:
    """One Markdown line for the code, for each corpus and for each frozen encoder (its key in `WEIGHTS`) of a model."""
    lines = ["- Code of CiMEU: MIT"]
    lines += [f"- Corpus `{corpus}`: {TERMS.get(corpus, UNKNOWN)}" for corpus in corpora]
    for encoder in encoders:
        if encoder in EMBEDDED:
            terms = "part of CiMEU, no weights"
        elif encoder in WEIGHTS:
            weights = WEIGHTS[encoder]
            terms = f"weights {weights.licence}, from {weights.page}"
            terms += f"; trained on {weights.trained_on}" if weights.trained_on else ""
        elif encoder in PRESETS:
            preset = PRESETS[encoder]
            terms = f"weights {preset.licence}, from {preset.page}; trained on {preset.trained_on}"
        else:
            terms = FOREIGN
        lines.append(f"- Encoder `{encoder}`: {terms}")
    return lines
