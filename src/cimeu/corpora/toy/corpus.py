"""The toy corpus: synthetic talking faces whose every cause is known (docs/concepts/toy_corpus.md).

It exists to run the whole path from files to a report in minutes, and to ask one question with a known answer: does a
method keep to the emotion when the gestures of a culture never seen say otherwise? A figure on it is a figure on
drawings, never on people.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd

from cimeu.atomic import STATE, check_free, whole, write_whole
from cimeu.corpora.manifest import Manifest, build_manifest, read_manifest, write_manifest
from cimeu.corpora.toy.face import draw_frames, look, motion
from cimeu.corpora.toy.factors import (
    CULTURES,
    EMOTIONS,
    FRAMES_PER_S,
    GESTURES,
    Culture,
    Speaker,
    Take,
    draw_speaker,
    draw_take,
)
from cimeu.corpora.toy.voice import RATE_HZ, speak
from cimeu.errors import ManifestError, OutputError
from cimeu.media.video import write_video
from cimeu.progress import Progress, silent
from cimeu.ranges import Within, check_values
from cimeu.reading import read_json

TOY_VERSION = 1
"""Raised with every change that draws another clip from the same settings."""


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """Size and causes of a toy corpus; a clip does not depend on how many others there are."""

    seed: Annotated[int, Within(0)] = 0
    """Which people and takes are drawn."""
    cultures: tuple[str, ...] = CULTURES
    """Some of north, south, east and west."""
    speakers_per_culture: Annotated[int, Within(1)] = 8
    """Women and men in turn."""
    takes: Annotated[int, Within(1)] = 4
    """Clips of each speaker and emotion."""
    culture_strength: Annotated[float | int, Within(0, 1)] = 1.0
    """0: cultures differ in nothing; 1: in looks, voice, timing, dialect and above all in their gestures."""
    habit: Annotated[float | int, Within(0, 1)] = 1.0
    """Share of that strength in the gestures, a shortcut to the emotion; 0: every culture uses all gestures alike."""
    version: int = TOY_VERSION
    """Version of the drawing; only the present one can be drawn."""

    def __post_init__(self) -> None:
        unknown = [culture for culture in self.cultures if culture not in CULTURES]
        if unknown or not self.cultures or len(set(self.cultures)) < len(self.cultures):
            raise ManifestError(
                f"toy cultures `{', '.join(self.cultures)}`\n\nhint: one or more of {', '.join(CULTURES)}, each once"
            )
        check_values(self, error=ManifestError)
        if self.version != TOY_VERSION:
            raise ManifestError(
                f"toy version {self.version} cannot be drawn, this release draws version {TOY_VERSION}\n\n"
                "hint: figures of two versions cannot be compared; install the release that drew the other"
            )


@dataclass(frozen=True)
class ToyClip:
    """One clip before it is drawn."""

    path: str
    culture: Culture
    speaker: Speaker
    take: Take
    names: dict[str, str]


def make_toy(config: ToyConfig, folder: Path, *, progress: Progress = silent) -> Manifest:
    """Draw what is not yet in `folder` (`<culture>/<speaker>/<emotion>_<take>.mp4`) and write its manifest.csv.

    The same settings draw the same frames and sound; an interrupted run resumes. Extra columns:
    `gesture` (with its habit of the voice), `intensity`, `valence` and `arousal` (-1 to 1, of the emotion at this
    intensity), `culture_strength`, `synthetic`.
    Raises ManifestError where the folder holds a toy corpus of another seed, strength, habit or version, OutputError
    where other files have its names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    check_free([folder / "manifest.csv"], "manifest")
    _claim(folder, config)
    clips = list(toy_clips(config))
    for done, clip in enumerate(clips):
        progress("drawing synthetic clips", done, len(clips))
        path = folder / clip.path
        if not path.exists():
            # An interrupted drawing leaves no half clip that a later run would keep.
            with whole(path, STATE) as partial:
                draw_clip(clip, partial)
    progress("drawing synthetic clips", len(clips), len(clips))
    table = pd.DataFrame([{"path": clip.path, **clip.names} for clip in clips])
    write_manifest(build_manifest(table, folder), folder / "manifest.csv")
    return read_manifest(folder / "manifest.csv")


def toy_clips(config: ToyConfig) -> Iterator[ToyClip]:
    """Every clip of a corpus, as known causes."""
    for name in config.cultures:
        culture = Culture(CULTURES.index(name), float(config.culture_strength), float(config.habit))
        for number in range(config.speakers_per_culture):
            speaker = draw_speaker(culture.index, number, config.seed)
            person = f"{name}{number + 1:02d}"
            for emotion, label in enumerate(EMOTIONS):
                for repeat in range(config.takes):
                    take = draw_take(culture, speaker, number, emotion, repeat, config.seed)
                    valence, arousal = take.affect
                    names = {
                        "emotion": label,
                        "corpus": "toy",
                        "speaker": person,
                        "culture": name,
                        "gender": speaker.gender,
                        "acted": "synthetic",
                        "gesture": GESTURES[take.gesture],
                        "intensity": f"{take.intensity:.3f}",
                        "valence": f"{valence:.3f}",
                        "arousal": f"{arousal:.3f}",
                        "culture_strength": f"{config.culture_strength:g}",
                        "synthetic": "yes",
                    }
                    path = f"{name}/{person}/{label}_{repeat + 1:02d}.mp4"
                    yield ToyClip(path, culture, speaker, take, names)


def draw_clip(clip: ToyClip, path: Path) -> None:
    """Draw and speak one clip into an mp4: 128 x 128 at 25 frames a second, mono at 16 kHz."""
    write_video(
        path,
        draw_frames(look(clip.speaker, clip.culture), motion(clip.take, clip.culture)),
        rate_hz=FRAMES_PER_S,
        samples=speak(clip.take, clip.speaker, clip.culture),
        sound_rate_hz=RATE_HZ,
        crf="18",
        preset="veryfast",
        # The encoder divides a frame among its threads: another number would give other bytes.
        threads="1",
    )


def _claim(folder: Path, config: ToyConfig) -> None:
    """Note the causes in toy.json, so that clips of two corpora never mix."""
    causes = {key: asdict(config)[key] for key in ("seed", "culture_strength", "habit", "version")}
    note = folder / "toy.json"
    if note.exists():
        earlier = read_json(note, ManifestError, "choose another folder")
        earlier.pop("corpus", None)
        earlier.setdefault("habit", 1.0)  # of corpora drawn before it could be chosen
        if earlier != causes:
            raise ManifestError(
                f"`{folder}` holds a toy corpus of {earlier}, not of {causes}\n\nhint: choose another folder"
            )
        return
    taken = [name for name in config.cultures if (folder / name).exists()]
    if taken:
        raise OutputError(f"`{folder / taken[0]}` is not of a toy corpus\n\nhint: choose another folder")
    write_whole(note, json.dumps({"corpus": "toy (synthetic)", **causes}, indent=2) + "\n", STATE)
