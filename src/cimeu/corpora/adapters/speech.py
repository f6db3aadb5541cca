"""Speech corpora whose file names say everything: one row of a table each, sound only.

A row has the pattern of a file name (of the end of its path, where folders matter), what the codes in it stand for,
what is known of the speakers, and the published counts. Named groups of the pattern become columns, save those that
begin with `_`, which only make up the speaker.

Sources: Burkhardt et al., A database of German emotional speech, Interspeech 2005 (`emodb`); Latif et al., Cross
lingual speech emotion recognition, FIT 2018 (`urdu`); Retta et al., A new Amharic speech emotion dataset, TALLIP 2023
(`ased`); Costantini et al., EMOVO corpus, LREC 2014 (`emovo`); Zhou et al., Seen and unseen emotional style transfer,
ICASSP 2021, and its README (`esd`); Sultana et al., SUST Bangla emotional speech corpus, PLOS ONE 2021 (`subesco`);
Mohamad Nezami et al., ShEMO, LREV 2019, and its README (`shemo`); Gournay et al., A Canadian French emotional speech
dataset, MMSys 2018, and its README (`cafe`); James et al., An open source emotional speech corpus, Interspeech 2018
(`jl`). Folds of ESD: Ma et al., EmoBox, Interspeech 2024.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cimeu.corpora.adapters.layout import Published, Row, checked, manifest_of, rows_by_name
from cimeu.corpora.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class SpeechSet:
    """One corpus."""

    pattern: str
    """Of a file's path without suffix, matched at its end, where a `/` or the path begins."""
    example: str
    """Of a file name, for messages."""
    codes: Mapping[str, Mapping[str, str]]
    """What the values of a named group stand for; other values stay as they are."""
    counts: Mapping[str, int]
    """Published counts, as `cimeu.corpora.adapters.layout.differing` compares them."""
    cells: Mapping[str, str]
    """What is the same in every row."""
    terms: str = ""
    """As its publishers state them; empty where they state none."""
    speaker: str = "{speaker}"
    """The speaker's name of the named groups; the name of the corpus stands before it."""
    people: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """More cells by that name."""


def _balanced(emotions: Mapping[str, str], clips: int) -> dict[str, int]:
    return {"clips": clips * len(emotions)} | dict.fromkeys(emotions.values(), clips)


_EMODB = dict(zip("WLEAFTN", ["anger", "boredom", "disgust", "fear", "happiness", "sadness", "neutral"], strict=True))
_EMODB_PEOPLE = "03 m 31, 08 f 34, 09 f 21, 10 m 32, 11 m 26, 12 m 30, 13 f 32, 14 f 35, 15 m 25, 16 f 31"
_URDU = {"A": "anger", "H": "happiness", "N": "neutral", "S": "sadness"}
_ASED = {"n": "neutral", "f": "fear", "h": "happiness", "s": "sadness", "a": "anger"}
_EMOVO = dict(
    zip(
        ("dis", "gio", "pau", "rab", "sor", "tri", "neu"),
        ("disgust", "happiness", "fear", "anger", "surprise", "sadness", "neutral"),
        strict=True,
    )
)
_ESD = {"Angry": "anger", "Happy": "happiness", "Neutral": "neutral", "Sad": "sadness", "Surprise": "surprise"}
_ESD_MEN = frozenset({4, 5, 6, 8, 10, 11, 12, 13, 14, 20})
_ESD_FOLDS = ((5, 11, 16, 18), (12, 14, 15, 19), (3, 4, 6, 9), (7, 8, 13, 20), (1, 2, 10, 17))
_SUBESCO = dict(
    zip(
        ("ANGRY", "DISGUST", "FEAR", "HAPPY", "NEUTRAL", "SAD", "SURPRISE"),
        ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
        strict=True,
    )
)
_SHEMO = {"A": "anger", "F": "fear", "H": "happiness", "N": "neutral", "S": "sadness", "W": "surprise"}
_CAFE = {
    "C": "anger",
    "D": "disgust",
    "J": "happiness",
    "N": "neutral",
    "P": "fear",
    "S": "surprise",
    "T": "sadness",
}
_CAFE_AGES = (46, 64, 18, 50, 22, 34, 15, 25, 42, 20, 35, 37)
_JL = {
    "angry": "anger",
    "excited": "excitement",
    "happy": "happiness",
    "neutral": "neutral",
    "sad": "sadness",
    "anxious": "anxiety",
    "apologetic": "apology",
    "assertive": "assertiveness",
    "concerned": "concern",
    "encouraging": "encouragement",
}

SPEECH_SETS = {
    # speaker, sentence, initial of the German emotion, version
    "emodb": SpeechSet(
        pattern=r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[A-Z])(?P<version>[a-z])",
        example="03a01Fa.wav",
        codes={"emotion": _EMODB},
        people={
            speaker: {"gender": gender, "age": age}
            for speaker, gender, age in (person.split() for person in _EMODB_PEOPLE.split(", "))
        },
        counts={"clips": 535, "speakers": 10} | dict(zip(_EMODB.values(), (127, 81, 46, 69, 71, 62, 79), strict=True)),
        cells={"culture": "german", "language": "de", "acted": "yes"},
        terms="no licence stated",
    ),
    # gender and number of the speaker, recording, emotion; talk shows
    "urdu": SpeechSet(
        pattern=r"S(?P<gender>[MF])(?P<_number>\d+)_F(?P<recording>\d+)_(?P<emotion>[AHNS])\d+",
        example="SM1_F1_A01.wav",
        codes={"emotion": _URDU, "gender": {"M": "m", "F": "f"}},
        speaker="{gender}{_number}",
        counts=_balanced(_URDU, 100),
        cells={"culture": "pakistani", "language": "ur", "acted": "no"},
        terms="research only",
    ),
    # initial and number of the emotion, sentence, repetition, gender, speaker
    "ased": SpeechSet(
        pattern=r"(?P<emotion>[nfhsa])\d-(?P<sentence>\d\d)-(?P<repetition>\d\d)-(?P<gender>0[12])-(?P<speaker>\d\d)",
        example="h3-01-02-01-33.wav",
        codes={"emotion": _ASED, "gender": {"01": "f", "02": "m"}},
        counts={"clips": 2474},
        cells={"culture": "ethiopian", "language": "am", "acted": "yes"},
        terms="stated as freely available",
    ),
    # beginning of the Italian emotion, speaker, sentence
    "emovo": SpeechSet(
        pattern=rf"(?P<emotion>{'|'.join(_EMOVO)})-(?P<speaker>(?P<gender>[fm])\d)-(?P<sentence>\w+)",
        example="dis-f1-b1.wav",
        codes={"emotion": _EMOVO},
        counts=_balanced(_EMOVO, 84) | {"speakers": 6},
        cells={"culture": "italian", "language": "it", "acted": "yes"},
    ),
    # speaker and emotion are folders, `train`, `evaluation` and `test` share every speaker and are no division here
    "esd": SpeechSet(
        pattern=rf"(?P<speaker>\d{{4}})/(?P<emotion>{'|'.join(_ESD)})/"
        r"(?:(?P<part>train|evaluation|test)/)?(?P=speaker)_(?P<utterance>\d{6})",
        example="0011/Angry/0011_000351.wav",
        codes={"emotion": _ESD},
        people={
            f"{number:04d}": {
                "language": "zh" if number <= 10 else "en",
                "gender": "m" if number in _ESD_MEN else "f",
                "fold": next(str(fold) for fold, speakers in enumerate(_ESD_FOLDS, 1) if number in speakers),
            }
            for number in range(1, 21)
        },
        counts=_balanced(_ESD, 7000) | {"speakers": 20} | {f"fold {fold}": 7000 for fold in range(1, 6)},
        cells={"acted": "yes"},
        terms="research only",
    ),
    # gender, number and name of the speaker, sentence, emotion, repetition
    "subesco": SpeechSet(
        pattern=r"(?P<gender>[FM])_(?P<_number>\d+)_[A-Z]+_S_(?P<sentence>\d+)_"
        rf"(?P<emotion>{'|'.join(_SUBESCO)})_(?P<repetition>\d+)\]?",  # one released name ends in a stray bracket
        example="F_10_FAHMEE_S_6_FEAR_5.wav",
        codes={"emotion": _SUBESCO, "gender": {"F": "f", "M": "m"}},
        speaker="{gender}{_number}",
        counts=_balanced(_SUBESCO, 1000) | {"speakers": 20},
        cells={"culture": "bangladeshi", "language": "bn", "acted": "yes"},
        terms="CC BY 4.0",
    ),
    # gender and number of the speaker, emotion, number; radio plays
    "shemo": SpeechSet(
        pattern=r"(?P<gender>[FM])(?P<_number>\d\d)(?P<emotion>[AFHNSW])(?P<utterance>\d+)",
        example="M36S02.wav",
        codes={"emotion": _SHEMO, "gender": {"F": "f", "M": "m"}},
        speaker="{gender}{_number}",
        counts={"clips": 3000, "speakers": 87, "emotions": 6},
        cells={"culture": "iranian", "language": "fa", "acted": "yes"},
        terms="free for academic purposes",
    ),
    # speaker, initial of the French emotion, intensity, sentence
    "cafe": SpeechSet(
        pattern=rf"(?P<speaker>\d\d)-(?P<emotion>[{''.join(_CAFE)}])-(?P<level>[12])-(?P<sentence>[1-6])",
        example="01-C-1-1.wav",
        codes={"emotion": _CAFE, "level": {"1": "low", "2": "high"}},
        people={
            f"{number:02d}": {"gender": "m" if number % 2 else "f", "age": str(age)}
            for number, age in enumerate(_CAFE_AGES, 1)
        },
        # neutral is spoken at one intensity, so that it has half as many clips
        counts=_balanced(_CAFE, 144) | {"clips": 936, "neutral": 72, "speakers": 12},
        cells={"culture": "canadian", "language": "fr", "acted": "yes"},
        terms="CC BY-NC-SA 4.0 (not for products)",
    ),
    # speaker, emotion, sentence and session, repetition
    "jl": SpeechSet(
        pattern=r"(?P<speaker>(?P<gender>female|male)[12])_"
        rf"(?P<emotion>{'|'.join(_JL)})_(?P<sentence>\d+[ab])_(?P<repetition>\d)",
        example="female1_angry_10a_1.wav",
        codes={"emotion": _JL, "gender": {"female": "f", "male": "m"}},
        counts={"clips": 2400, "speakers": 4, "emotions": 10},
        cells={"culture": "new-zealand", "language": "en", "acted": "yes"},
        terms="CC0 1.0",
    ),
}
"""By the name under which `cimeu prepare` knows a corpus."""


def from_speech_set(name: str, root: Path, *, check_counts: bool = True) -> Manifest:
    """Rows of the recordings of one corpus below `root`; its named groups are extra columns. Raises ManifestError."""
    corpus = SPEECH_SETS[name]

    def row(groups: Mapping[str, str]) -> Row:
        speaker = corpus.speaker.format(**groups)
        columns = {
            column: corpus.codes.get(column, {}).get(value, value)
            for column, value in groups.items()
            if not column.startswith("_")
        }
        return {**corpus.cells, **columns, **corpus.people.get(speaker, {}), "speaker": f"{name}_{speaker}"}

    rows = rows_by_name(root, pattern=corpus.pattern, example=corpus.example, row=row)
    manifest = manifest_of(rows, root, corpus=name)
    return checked(manifest, corpus.counts) if check_counts else manifest


CORPORA = tuple(
    Published(name, partial(from_speech_set, name), corpus.terms, {name: corpus.counts})
    for name, corpus in SPEECH_SETS.items()
)
