"""Every error CiMEU raises on purpose.

    CimeuError
    ├── MediaError            a file that cannot be seen or heard
    ├── ManifestError         a table of clips that contradicts itself
    │   ├── UnknownLabel      an emotion the label space does not know
    │   ├── EmptyClass        a label without a single clip where one is needed
    │   ├── DuplicateClip     one clip listed twice
    │   └── FoldLeak          a speaker or take on both sides of a fold
    ├── FeatureError          features that are missing, damaged or not finite
    │   └── FingerprintMismatch   features made with other preprocessing
    ├── CheckpointError       weights that do not fit or cannot be trusted
    │   └── WeightsMissing    weights that must be fetched first
    ├── OutputError           a result that would replace what is not ours to replace
    └── RecipeError           a recipe or setting that cannot be run

A message names the thing, the value and, after an empty line and `hint:`, the way out.
"""

from collections.abc import Sequence
from difflib import get_close_matches


def guess(name: object, names: Sequence[str], otherwise: str = "known: ") -> str:
    """End of a hint: the one of `names` that `name` most resembles, or all of them behind `otherwise`.

    >>> guess("anegr", ("anger", "fear")), guess("x", ("anger", "fear"))
    ('did you mean `anger`?', 'known: anger, fear')
    """
    return likely(name, names) or f"{otherwise}{', '.join(names)}"


def likely(name: object, names: Sequence[str]) -> str:
    """The question whether the one of `names` that `name` most resembles was meant; empty where none is close."""
    close = get_close_matches(str(name), names, n=1)
    return f"did you mean `{close[0]}`?" if close else ""


def first_line(error: object) -> str:
    """What an error says, without its hint."""
    return str(error).strip().split("\n", 1)[0]


def listed(names: Sequence[object], most: int = 3) -> str:
    """The first of some names, and how many more there are.

    >>> listed(["`a`", "`b`"], most=1), listed([])
    ('`a` and 1 more', '')
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


class CimeuError(Exception):
    """Base of every deliberate error; the command line prints it without a traceback."""


class MediaError(CimeuError):
    """A file cannot be decoded, or holds nothing to decode."""


class ManifestError(CimeuError):
    """A manifest is malformed or contradicts itself."""


class UnknownLabel(ManifestError):
    """An emotion is not part of the label space in use."""


class EmptyClass(ManifestError):
    """A label has no clip where at least one is needed."""


class DuplicateClip(ManifestError):
    """The same clip is listed twice."""


class FoldLeak(ManifestError):
    """A speaker, take or clip is on both sides of a fold."""


class FeatureError(CimeuError):
    """Stored features are missing, damaged or not finite."""


class FingerprintMismatch(FeatureError):
    """Stored features were made with other preprocessing than asked for."""


class CheckpointError(CimeuError):
    """Weights do not fit the model or the file is not a plain set of tensors."""


class WeightsMissing(CheckpointError):
    """Weights have to be fetched by the user first."""


class OutputError(CimeuError):
    """A result cannot get its name: a file of somebody else, a corrected one or another result has it."""


class RecipeError(CimeuError):
    """A recipe or a setting cannot be run as written."""
