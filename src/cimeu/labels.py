"""Emotions by name: label spaces, and mappings between them with what they cover.

Labels are compared by name, never by number: several numberings circulate for the same files. Canonical names are
nouns (`anger`, `happiness`); other spellings (`Angry`, `joy`, `fearful`) are aliases of them.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Counts
from dataclasses import dataclass
from unicodedata import normalize

from cimeu.errors import RecipeError, UnknownLabel, guess

ALIASES = {
    "angry": "anger",
    "bored": "boredom",
    "excited": "excitement",
    "frustrated": "frustration",
    "worried": "worry",
    "calmness": "calm",
    "disappointed": "disappointment",
    "disgusted": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "anxious": "anxiety",
    "happy": "happiness",
    "joy": "happiness",
    "joyful": "happiness",
    "helpless": "helplessness",
    "neutrality": "neutral",
    "sad": "sadness",
    "surprised": "surprise",
    "contemptuous": "contempt",
    "other": "others",
}


def canonical(emotion: str) -> str:
    """Name an emotion the way every other module does.

    >>> canonical(" Angry "), canonical("joy"), canonical("anger_disgust")
    ('anger', 'happiness', 'anger_disgust')
    """
    name = normalize("NFC", emotion).strip().lower()  # macOS writes é as two characters
    return ALIASES.get(name, name)


@dataclass(frozen=True)
class LabelSpace:
    """An ordered set of emotions; the order is that of a model's outputs.

    >>> SPACES["four"].index("happy")
    1
    """

    name: str
    emotions: tuple[str, ...]

    def index(self, emotion: str) -> int:
        """Place of an emotion, by its name or an alias. Raises UnknownLabel."""
        try:
            return self.emotions.index(canonical(emotion))
        except ValueError:
            raise UnknownLabel(
                f"emotion `{emotion}` is not in the label space `{self.name}`\n\n"
                f"hint: {guess(canonical(emotion), self.emotions)}"
            ) from None

    def __len__(self) -> int:
        return len(self.emotions)

    def __iter__(self) -> Iterator[str]:
        return iter(self.emotions)

    def __contains__(self, emotion: object) -> bool:
        return isinstance(emotion, str) and canonical(emotion) in self.emotions


_SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
_ELEVEN = (
    *("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    *("contempt", "anxiety", "helplessness", "disappointment"),
)
_COMPOUND = (
    *("anger_anxiety", "anger_disgust", "anger_disgust_anxiety", "anger_disgust_contempt", "anger_helplessness"),
    *("anger_sadness", "anger_surprise", "anxiety_helplessness", "anxiety_helplessness_disappointment"),
    *("disgust_anxiety", "disgust_anxiety_helplessness", "disgust_contempt", "disgust_disappointment"),
    *("disgust_helplessness", "disgust_helplessness_disappointment", "disgust_sadness", "disgust_surprise"),
    *("fear_anxiety", "fear_sadness", "fear_sadness_anxiety", "fear_surprise", "fear_surprise_anxiety"),
    *("happiness_contempt", "happiness_surprise", "helplessness_disappointment", "sadness_anxiety"),
    *("sadness_anxiety_helplessness", "sadness_disappointment", "sadness_helplessness"),
    *("sadness_helplessness_disappointment", "sadness_surprise", "surprise_anxiety"),
)
"""The 32 of MAFW that are several emotions at once."""

_JL_SECONDARY = ("anxiety", "apology", "assertiveness", "concern", "encouragement")

SPACES = {
    name: LabelSpace(name, emotions)
    for name, emotions in {
        "four": ("anger", "happiness", "neutral", "sadness"),
        "dfew": _SEVEN,
        "ferv39k": _SEVEN,
        "afew": ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
        "mafw": _ELEVEN,
        "mafw-compound": (*_ELEVEN, *_COMPOUND),
        "cremad": ("anger", "disgust", "fear", "happiness", "neutral", "sadness"),
        "ravdess": ("neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise"),
        "enterface": ("anger", "disgust", "fear", "happiness", "sadness", "surprise"),
        "meld": ("neutral", "surprise", "fear", "sadness", "happiness", "disgust", "anger"),
        "casme2": ("happiness", "surprise", "disgust", "repression", "others"),
        "emodb": ("anger", "boredom", "disgust", "fear", "happiness", "sadness", "neutral"),
        "urdu": ("anger", "happiness", "neutral", "sadness"),
        "ased": ("neutral", "fear", "happiness", "sadness", "anger"),
        "emovo": ("disgust", "happiness", "fear", "anger", "surprise", "sadness", "neutral"),
        "nemo": ("anger", "fear", "happiness", "neutral", "sadness", "surprise"),
        "esd": ("anger", "happiness", "neutral", "sadness", "surprise"),
        "subesco": ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
        "shemo": ("anger", "fear", "happiness", "neutral", "sadness", "surprise"),
        "cafe": ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
        "iemocap": ("anger", "excitement", "frustration", "happiness", "neutral", "sadness"),
        "msppodcast": ("anger", "sadness", "happiness", "surprise", "fear", "disgust", "contempt", "neutral"),
        "mer": ("neutral", "anger", "happiness", "sadness", "worry", "surprise"),
        "affwild2": ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "others"),
        "chsims": ("negative", "neutral", "positive"),
        "cameo": ("anger", "fear", "happiness", "neutral", "sadness", "surprise"),
        "blemore": ("anger", "disgust", "fear", "happiness", "neutral", "sadness"),
        "jl": ("anger", "excitement", "happiness", "neutral", "sadness", *_JL_SECONDARY),
    }.items()
}
KNOWN_EMOTIONS = frozenset(emotion for space in SPACES.values() for emotion in space)


def label_space(space: str | Sequence[str]) -> LabelSpace:
    """Look up a space by name, or make one of listed emotions (its own names are allowed).

    Raises RecipeError for an unknown name, an empty list, or an emotion listed twice.

    >>> label_space(["Joy", "confusion"]).emotions
    ('happiness', 'confusion')
    """
    if isinstance(space, str):
        if space not in SPACES:
            raise RecipeError(f"unknown label space `{space}`\n\nhint: {guess(space, tuple(SPACES))}")
        return SPACES[space]
    emotions = tuple(canonical(emotion) for emotion in space)
    if not emotions:
        raise RecipeError("a label space without emotions\n\nhint: list at least two")
    for emotion in emotions:
        if emotions.count(emotion) > 1:
            raise RecipeError(f"emotion `{emotion}` is listed twice\n\nhint: aliases such as `happy` and `joy` are one")
    same = [other for other in SPACES.values() if other.emotions == emotions]
    return same[0] if same else LabelSpace("own", emotions)


@dataclass(frozen=True)
class Mapping:
    """How the emotions of one space become those of another; None where there is no counterpart."""

    source: LabelSpace
    target: LabelSpace
    table: dict[str, str | None]

    @property
    def absent(self) -> tuple[str, ...]:
        """Emotions of the target that no emotion of the source becomes."""
        return tuple(emotion for emotion in self.target if emotion not in self.table.values())

    def coverage(self, counts: Counts[str, int]) -> float:
        """Share (0 to 1) of clips, counted by source emotion, that keep a label. Raises UnknownLabel."""
        kept = sum(
            count for emotion, count in counts.items() if self.table[self.source.emotions[self.source.index(emotion)]]
        )
        total = sum(counts.values())
        return kept / total if total else 0.0


def mapping(source: LabelSpace, target: LabelSpace, merge: Counts[str, str] | None = None) -> Mapping:
    """Map by name; `merge` adds what the names do not say, such as {"calm": "neutral"}. Raises UnknownLabel.

    >>> to_four = mapping(SPACES["ravdess"], SPACES["four"])
    >>> to_four.table["calm"], to_four.coverage({"calm": 192, "anger": 192})
    (None, 0.5)
    """
    table: dict[str, str | None] = {emotion: emotion if emotion in target else None for emotion in source}
    for old, new in (merge or {}).items():
        table[source.emotions[source.index(old)]] = target.emotions[target.index(new)]
    return Mapping(source, target, table)
