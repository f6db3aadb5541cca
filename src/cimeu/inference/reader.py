"""One recording on its way through: pictures and sound read on together, and each window encoded as it is complete.

A window is encoded as a clip of its own. It speaks for the hop around its centre; what is seen and heard in that hop,
not in the window, says which streams count there, so that a face that leaves or a voice that stops ends within a hop.
The first and the last window speak for the ends of the recording too, hop by hop.

Axes: S side of a crop, K emotions, T steps, D width.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import count, pairwise
from math import ceil, inf
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float32, UInt8

from cimeu.encoders.base import Encoder
from cimeu.encoders.encoding import encode
from cimeu.errors import MediaError
from cimeu.inference.face_path import REACH_S, FacePath, resampling_of, side_of
from cimeu.inference.reidentification import Identity, Portrait
from cimeu.inference.stopwatch import Stopwatch
from cimeu.inference.tracks import PictureTrack, Sightings, SoundTrack
from cimeu.inference.utterances import ContextEncoder, Utterances
from cimeu.inference.voice_activity import NO_SPEECH, MouthMotion, who_speaks, why_not_heard
from cimeu.media.audio import RATE_HZ, at_level, stream_sound, trim_silence
from cimeu.media.clips import scaled_down_to
from cimeu.media.face_crops import TrackedFrame, track_faces
from cimeu.media.faces import Box, FaceDetector, for_one_recording
from cimeu.media.prefetch import read_ahead
from cimeu.media.regions import whole_picture
from cimeu.media.threads import one_thread
from cimeu.media.video import MediaInfo, frames
from cimeu.model.classifier import Clip
from cimeu.pyramid import Direction
from cimeu.timeline.timeline import Modality, Place, TimelineSettings

logger = logging.getLogger(__name__)

OFF_SCREEN, SCENE, VOICE = NOBODY = "off screen", "scene", "voice"
"""Lanes that are no person: nobody is seen; whole frames are looked at; there are no pictures."""
NO_FACE, SMALL_FACE, NO_PICTURE, NO_SOUND = "no face", "face too small", "no picture", "no sound track"
BROKEN_PICTURE, BROKEN_SOUND = "picture cannot be decoded", "sound cannot be decoded"
WHOSE_VOICE, ANOTHER_VOICE = "several people, one voice", "another person speaks"
PICTURES_AHEAD = 8
"""So many pictures are decoded before they are needed, beside the other work."""
SOUND_BLOCK_S = 1.0
PADDING_S = 0.1
"""Compressed sound is filled up to whole frames: so much beyond the last picture is no recording."""
PLACES_HZ = 5
"""As often as faces are looked for; between two of these they move in a straight line."""
Vectors = Mapping[Direction, Float32[np.ndarray, "_ _"]]


@dataclass(frozen=True)
class Look:
    """A window, and the stretch that it speaks for, in seconds."""

    start_s: float
    end_s: float
    from_s: float
    until_s: float


@dataclass(frozen=True)
class Question:
    """One window of one lane for stretch `number`: the first stream in each direction, the second as it was."""

    lane: str
    number: int
    start_s: float
    end_s: float
    first: Vectors
    second: Float32[np.ndarray, "T D"] | None
    reach_s: tuple[float, float]
    """From when to when the encoders looked and listened: the window, or the stretches of speech it lies in."""

    @property
    def clip(self) -> Clip:
        """What a classifier is asked about."""
        return Clip(self.first, self.second)


@dataclass
class Lane:
    """What is known of one person so far."""

    faces: dict[str, "FacePath"] = field(default_factory=dict)
    sightings: Sightings = field(default_factory=Sightings)
    answers: dict[int, Float[np.ndarray, " K"]] = field(default_factory=dict)
    """Probabilities per stretch."""
    foreign: dict[int, float] = field(default_factory=dict)
    """Per stretch: distance from the training clips, 1 where it becomes unlike them."""
    grounds: dict[int, tuple[Modality, str]] = field(default_factory=dict)
    """Per stretch: what an answer rests on, and what is missing why."""
    mouth: MouthMotion = field(default_factory=MouthMotion)
    portrait: Portrait | None = None
    representations: dict[int, Float32[np.ndarray, " C"]] = field(default_factory=dict)
    """Per stretch, where the style of the person is read from other windows."""
    reach_s: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Per stretch: from when to when the encoders looked and listened for its window."""
    places: list[Place] = field(default_factory=list)
    """Where the face was, `PLACES_HZ` times a second."""


class Reader:
    """Reads one recording, or what of it comes after `from_s`, and asks about each window of each lane.

    Frames and looks are counted from there; times of questions and places are those of the recording.
    """

    def __init__(
        self,
        path: Path,
        info: MediaInfo,
        encoders: Mapping[str, Encoder],
        directions: Sequence[Direction],
        settings: TimelineSettings,
        detector: FaceDetector,
        rate_hz: float,
        *,
        from_s: float = 0.0,
        identity: Identity | None = None,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        self._path, self._info, self._settings, self._rate_hz, self._from_s = path, info, settings, rate_hz, from_s
        self._identity, self._stopwatch = identity, stopwatch or Stopwatch()
        self._directions = {"first": tuple(directions), "second": ("forward",)}
        self._of_faces, self._of_frames, self._of_sound = (
            {stream: encoder for stream, encoder in encoders.items() if encoder.source == source}
            for source in ("face", "frame", "sound")
        )
        looks, listens = bool(self._of_faces or self._of_frames), bool(self._of_sound)
        self._no_picture = NO_PICTURE if looks and not info.has_video else ""
        self._no_sound = NO_SOUND if listens and not info.has_sound else ""
        self._pictures = (
            self._until_broken(self._tracked(for_one_recording(detector)), "picture")
            if looks and info.has_video
            else iter(())
        )
        self._n_frames, self._frames_over = 0, False
        listens = listens and info.has_sound
        blocks = stream_sound(path, block_s=SOUND_BLOCK_S, start_s=from_s) if listens else iter(())
        self._sound = SoundTrack(self._until_broken(self._stopwatch.each("decode sound", blocks), "sound"))
        self._heard: tuple[tuple[float, float], dict[str, Vectors], tuple[float, float]] | None = None
        self._utterances = {
            stream: Utterances(self._sound, encoder, self._directions[stream])
            for stream, encoder in self._of_sound.items()
            if isinstance(encoder, ContextEncoder)
        }
        self._scene = {stream: PictureTrack(encoder) for stream, encoder in self._of_frames.items()}
        self._live: dict[str, Lane] = {}
        self.lanes: dict[str, Lane] = {}

    def looks(self, length: int, hop: int) -> Iterator[Look]:
        """Each window once it is read, with the stretches it speaks for; length and hop in frames.

        The last window ends with the recording; a recording shorter than a window is one.
        """
        rate_hz, hop_s, spoken_s = self._rate_hz, hop / self._rate_hz, 0.0
        window = None
        for start in count(0, hop):
            stop_s = (start + length) / rate_hz
            self._read_until(stop_s)
            if self._frames_over and self._sound.exhausted and self.end_s < stop_s - 1e-6:
                end_s = self.end_s
                if window is None:
                    window = 0.0, end_s
                elif end_s - window[1] > hop_s / 2:
                    window = max(0.0, end_s - length / rate_hz), end_s
                yield from _looks(window, spoken_s, end_s, hop_s if self._n_frames or self._sound.end_s else inf)
                return
            window = start / rate_hz, stop_s
            until_s = (start + (length + hop) / 2) / rate_hz
            yield from _looks(window, spoken_s, until_s, hop_s)
            spoken_s = until_s
            self._forget(start)

    def ask(self, number: int, look: Look) -> Iterator[Question]:
        """What there is of each lane in a window just read; lanes note what it rests on, and what is missing why."""
        span = self._frames(look.start_s, look.end_s)
        there = self._frames(look.from_s, look.until_s)
        voice, unheard = self._voice(look)
        unseen = {
            name: self._why_unseen(lane, *there) for name, lane in self._live.items() if lane.sightings.any(*span)
        }
        visible = [name for name, why in unseen.items() if why != NO_FACE]
        speaker = self._speaker(visible, span, look) if voice and len(visible) > 1 else None
        for name, why in unseen.items():
            if name not in visible:
                self._live[name].grounds[number] = ("", why)
            elif not voice or len(visible) == 1 or name == speaker:
                yield from self._question(name, number, span, why, voice, unheard)
            else:
                yield from self._question(name, number, span, why, {}, ANOTHER_VOICE if speaker else WHOSE_VOICE)
        if not visible:
            over = self._frames_over and sum(there) / 2 >= self._n_frames > 0
            why = self._no_picture or (NO_PICTURE if over else NO_FACE if self._of_faces else "")
            yield from self._question(self._lane_of_nobody(), number, span, why, voice, unheard)

    def _frames(self, start_s: float, end_s: float) -> tuple[int, int]:
        return round(start_s * self._rate_hz), round(end_s * self._rate_hz)

    def _speaker(self, visible: Sequence[str], span: tuple[int, int], look: Look) -> str | None:
        """Who of those visible speaks, as far as it can be told."""
        motions = {name: self._live[name].mouth.between(*span) for name in visible}
        samples = self._sound.samples(look.start_s, look.end_s)
        with self._stopwatch("who speaks"):
            return who_speaks(motions, samples, self._rate_hz, self._settings)

    def _question(
        self, name: str, number: int, span: tuple[int, int], unseen: str, voice: Mapping[str, Vectors], unheard: str
    ) -> Iterator[Question]:
        """Ask about one lane if there is anything of it; `unseen` and `unheard` say why a stream is missing."""
        lane = self.lanes.setdefault(name, Lane())
        tracks = dict(self._scene)
        if not unseen:
            tracks |= {stream: path.track for stream, path in lane.faces.items()}
        vectors = dict(voice)
        with self._stopwatch("prepare and encode pictures"):
            for stream, track in tracks.items():
                if track.holds(*span):
                    with threads_for(track.encoder):
                        vectors[stream] = {each: track.vectors(*span, each) for each in self._directions[stream]}
        seen = {stream for stream in vectors if stream not in self._of_sound}
        modality: Modality = "face" if seen & self._of_faces.keys() else "picture" if seen else ""
        if voice:
            modality = "both" if seen else "voice"
        lane.grounds[number] = (modality, "; ".join(reason for reason in (unseen, unheard) if reason))
        if vectors:
            start_s, end_s = (self._from_s + frame / self._rate_hz for frame in span)
            second = vectors.get("second", {}).get("forward")
            heard_s = self._heard[2] if voice and self._heard else (start_s, end_s)
            reach_s = min(start_s, heard_s[0]), max(end_s, heard_s[1])
            yield Question(name, number, start_s, end_s, vectors.get("first", {}), second, reach_s)

    def _voice(self, look: Look) -> tuple[dict[str, Vectors], str]:
        """The vectors of a window of sound by stream, or why nobody is heard in the stretch it speaks for."""
        if self._no_sound or not self._of_sound:
            return {}, self._no_sound
        samples = self._sound.samples(look.start_s, look.end_s)
        why = why_not_heard(samples, self._settings, look.from_s - look.start_s, look.until_s - look.start_s)
        if why:
            return {}, why
        window = look.start_s, look.end_s
        if self._heard is None or self._heard[0] != window:
            self._heard = window, *self._listen(window, samples)
        vectors = self._heard[1]
        return (vectors, "") if all(vectors.values()) else ({}, NO_SPEECH)

    def _listen(
        self, window: tuple[float, float], samples: Float32[np.ndarray, " N"]
    ) -> tuple[dict[str, Vectors], tuple[float, float]]:
        """Vectors of a window by stream, and from when to when the encoders listened, in the time of the recording."""
        vectors: dict[str, Vectors] = {}
        reach_s = window
        for stream, encoder in self._of_sound.items():
            with self._stopwatch("encode sound"), threads_for(encoder):
                if stream in self._utterances:
                    vectors[stream], reach_s = self._utterances[stream].window(*window)
                else:
                    ready = made_ready(samples, encoder)
                    vectors[stream] = {each: encode(encoder, ready, each) for each in self._directions[stream]}
        return vectors, (self._from_s + reach_s[0], self._from_s + reach_s[1])

    def _why_unseen(self, lane: Lane, start: int, stop: int) -> str:
        if lane.sightings.share(start, stop) < self._settings.face_share:
            return NO_FACE
        return SMALL_FACE if lane.sightings.width_px(start, stop) < self._settings.face_px else ""

    def _lane_of_nobody(self) -> str:
        if self._no_picture or not (self._of_faces or self._of_frames):
            return VOICE
        return OFF_SCREEN if self._of_faces else SCENE

    def _tracked(self, detector: FaceDetector) -> Iterator[TrackedFrame]:
        """Pictures as in training, with their faces where an encoder looks at faces."""
        encoders = [*self._of_faces.values(), *self._of_frames.values()]
        sides = [scaled_down_to(side_of(encoder), resampling_of(encoder)) for encoder in encoders]
        max_side = max((side for side in sides if side is not None), default=None) if None not in sides else None
        decoded = frames(self._path, rate_hz=self._rate_hz, start_s=self._from_s, max_side=max_side)
        ahead = read_ahead(self._stopwatch.each("decode and scale pictures (beside the rest)", decoded), PICTURES_AHEAD)
        pictures = self._stopwatch.each("wait for pictures", ahead)
        if self._of_faces:
            yield from track_faces(pictures, _Timed(detector, self._stopwatch))
        else:
            yield from (TrackedFrame(picture, {}) for picture in pictures)

    def _until_broken(self, stream: Iterator[Any], kind: Literal["picture", "sound"]) -> Iterator[Any]:
        """A stream that ends where it cannot be decoded: the other one may still say something."""
        try:
            yield from stream
        except MediaError as error:
            reason = str(error).split("\n", 1)[0]
            logger.warning("%s", reason)
            if kind == "picture":
                self._no_picture = BROKEN_PICTURE
            else:
                self._no_sound = BROKEN_SOUND

    def _read_until(self, time_s: float) -> None:
        """Read sound up to here, and pictures as far beyond as smoothing looks."""
        self._sound.read_until(time_s)
        reach = REACH_S * self._rate_hz
        while not self._frames_over and self._n_frames < time_s * self._rate_hz + reach:
            picture = next(self._pictures, None)
            if picture is None:
                self._frames_over = True
            else:
                self._look(picture)
                self._n_frames += 1
        for lane in self._live.values():
            for path in lane.faces.values():
                path.release(inf if self._frames_over else self._n_frames - reach)

    def _look(self, picture: TrackedFrame) -> None:
        pixels = picture.frame.pixels
        for stream, track in self._scene.items():
            encoder = self._of_frames[stream]
            track.add(self._n_frames, whole_picture(pixels, side_of(encoder), resampling_of(encoder)))
        for face, box in picture.boxes.items():
            name = f"face {face}"
            if name not in self.lanes:
                self.lanes[name] = self._live[name] = self._lane_of_a_face()
            lane = self.lanes[name]
            lane.sightings.add(self._n_frames, box.width * self._info.width / pixels.shape[1])
            time_s = self._from_s + self._n_frames / self._rate_hz
            if not lane.places or time_s >= lane.places[-1].time_s + 1 / PLACES_HZ - 1e-6:
                lane.places.append(place_of(box, pixels, time_s))
            for path in lane.faces.values():
                path.add(self._n_frames, picture, face)

    def _lane_of_a_face(self) -> Lane:
        """A new lane; mouth and likeness are seen in the crops of its first encoder."""
        lane = Lane(portrait=None if self._identity is None else Portrait(self._identity, self._rate_hz))
        watch = [seen.add for seen in (lane.mouth, lane.portrait) if seen is not None]
        for stream, encoder in self._of_faces.items():
            lane.faces[stream] = FacePath(encoder, self._rate_hz, watch=watch, stopwatch=self._stopwatch)
            watch = []
        return lane

    @property
    def end_s(self) -> float:
        """Time up to which the recording was read; what its file says where neither stream can be read."""
        pictures_s, sound_s = self._n_frames / self._rate_hz, self._sound.end_s
        if pictures_s and sound_s - pictures_s < PADDING_S:
            return pictures_s
        return max(pictures_s, sound_s) or max(0.0, self._info.duration_s - self._from_s)

    def _forget(self, before: int) -> None:
        """Drop what came before this frame, and the pictures of faces that are gone."""
        before_s = before / self._rate_hz
        for utterances in self._utterances.values():
            utterances.forget(before_s)
        self._sound.forget(before_s)
        for track in self._scene.values():
            track.forget(before)
        for name, lane in list(self._live.items()):
            lane.sightings.forget(before)
            lane.mouth.forget(before)
            for path in lane.faces.values():
                path.track.forget(before)
            if not lane.sightings.any(before, self._n_frames):
                lane.faces.clear()
                del self._live[name]


def _looks(window: tuple[float, float], from_s: float, until_s: float, hop_s: float) -> Iterator[Look]:
    """Equal stretches of a hop at most."""
    pieces = max(1, ceil((until_s - from_s) / hop_s - 1e-6))
    edges = [from_s + (until_s - from_s) * piece / pieces for piece in range(pieces)] + [until_s]
    yield from (Look(*window, *stretch) for stretch in pairwise(edges))


@dataclass(frozen=True)
class _Timed:
    """A detector under the stopwatch."""

    detector: FaceDetector
    stopwatch: Stopwatch

    @property
    def name(self) -> str:
        return self.detector.name

    @property
    def version(self) -> str:
        return self.detector.version

    def __call__(self, pixels: UInt8[np.ndarray, "H W 3"]) -> list[Box]:
        with self.stopwatch("detect faces"):
            return self.detector(pixels)


def threads_for(encoder: Encoder) -> AbstractContextManager[object]:
    """One thread for small work, all of torch's for a network."""
    return nullcontext() if encoder.heavy else one_thread()


def place_of(box: Box, pixels: UInt8[np.ndarray, "H W 3"], time_s: float) -> Place:
    """A box in fractions of its picture."""
    height, width = pixels.shape[:2]
    sides = (box.left / width, box.top / height, box.width / width, box.height / height)
    return Place(round(time_s, 3), *(round(side, 4) for side in sides))


def made_ready(samples: Float32[np.ndarray, " N"], encoder: Encoder) -> Float32[np.ndarray, " M"]:
    """Sound trimmed and levelled as the encoder was trained on."""
    if encoder.preprocessing.get("trim"):
        first, last = trim_silence(samples, RATE_HZ)
        samples = samples[first:last]
    return at_level(samples) if encoder.preprocessing.get("level") else samples


def rate_of(encoder: Encoder) -> float:
    """Pictures a second that an encoder looks at."""
    rate_hz = encoder.preprocessing["rate_hz"]
    assert isinstance(rate_hz, int | float), "encoders of pictures say how many a second they want"
    return float(rate_hz)
