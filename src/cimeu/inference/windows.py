"""One recording on its way through: frames and sound read together, and each window encoded as soon as it is complete.

A window is encoded as a clip of its own. It speaks for the hop around its centre; what is seen and heard in that hop,
not in the window, says which streams count there, so that a face that leaves or a voice that stops ends within a hop.
The first and the last window speak for the ends of the recording too, hop by hop.

A voice belongs to the one person who is seen. Where several are, it belongs to the one whose mouth follows it, or to
none if that is unclear. A face that was not found again and is only held does not count as somebody else, unless it
was found beside the other within the window.

Axes: S side of a crop, T steps, D width.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import count, pairwise
from math import ceil, inf
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from cimeu.encoders.base import Encoder
from cimeu.encoders.encoding import encode
from cimeu.encoders.voiceprint import Voiceprint
from cimeu.errors import MediaError, first_line
from cimeu.features.sources import sound_settings
from cimeu.inference.buffers import FrameBuffer, SoundBuffer
from cimeu.inference.diarisation import ANOTHER_VOICE, around_middle
from cimeu.inference.face_path import REACH_S, FacePath, resampling_of, side_of
from cimeu.inference.lanes import NO_FACE, Lane
from cimeu.inference.reidentification import Identity, People
from cimeu.inference.stopwatch import Stopwatch
from cimeu.inference.streams import Streams
from cimeu.inference.utterances import ContextEncoder, Utterances
from cimeu.inference.voice_activity import NO_SPEECH, who_speaks, why_not_heard
from cimeu.media.clips import prepared_sound, scaled_down_to
from cimeu.media.face_tracks import HOLD_S, TrackedFrame, track_faces
from cimeu.media.faces import Box, FaceDetector, for_one_recording
from cimeu.media.prefetch import read_ahead
from cimeu.media.regions import whole_frame
from cimeu.media.threads import one_thread
from cimeu.media.video import MediaInfo
from cimeu.model.classifier import Clip
from cimeu.pyramid import Direction
from cimeu.timeline.segments import OFF_SCREEN, SCENE, VOICE, Modality, Place
from cimeu.timeline.settings import TimelineSettings

logger = logging.getLogger(__name__)

SMALL_FACE, NO_PICTURE, NO_SOUND = "face too small", "no picture", "no sound track"
BROKEN_PICTURE, BROKEN_SOUND = "picture cannot be decoded", "sound cannot be decoded"
WHOSE_VOICE = "several people, one voice"
FRAMES_AHEAD = 8
"""So many frames are decoded before they are needed, beside the other work."""
TAIL_S = 0.5
"""Sound that outlasts the video by less is no recording: compressed sound is filled up to whole frames, and the tracks
of a container rarely end together."""
PLACES_HZ = 5
"""As often as faces are looked for; between two of these they move in a straight line."""
BLANK_DEVIATION = 2.0
"""A frame whose colours deviate less from their mean (of 255) shows nothing: black, white, before a camera is on. A
face that is not found there is not absent."""
NOISE_PATCHES, NOISE_PIXELS = 4, 32
"""Television noise is looked for in 4 x 4 patches of 32 x 32 pixels: it shows nothing either."""
NOISE_CHANGE = 0.6
"""In noise, the neighbours in each patch differ by more than this share of what independent pixels would. Encoded noise
had 0.8 or more in every patch, six recordings and a drawn one at most 0.4 in any, and nothing in some."""
Vectors = Mapping[Direction, Float32[np.ndarray, "_ _"]]
Frames = tuple[int, int]
"""From the first of these to before the second."""


@dataclass(frozen=True)
class Span:
    """A window, and the stretch that it speaks for, in seconds."""

    start_s: float
    end_s: float
    from_s: float
    until_s: float


@dataclass(frozen=True)
class WindowInput:
    """One window of one lane for stretch `number`: the first stream in each direction, the second as it was."""

    lane: str
    number: int
    start_s: float
    end_s: float
    first: Vectors
    second: Float32[np.ndarray, "T D"] | None
    reach_s: tuple[float, float]
    """From when to when there was anything for the encoders: the window, or the stretches of speech it lies in."""

    @property
    def clip(self) -> Clip:
        """What a classifier is given."""
        return Clip(self.first, self.second)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a recogniser reads every recording with."""

    encoders: Mapping[str, Encoder]
    """By stream, `first` and perhaps `second`."""
    directions: Sequence[Direction]
    """In which the first stream is encoded."""
    settings: TimelineSettings
    detector: FaceDetector
    identity: Identity
    rate_hz: float
    """Frames a second."""
    stopwatch: Stopwatch
    voiceprint: Voiceprint | None = None
    """Tells several voices apart, where that is asked for."""

    def encoders_of(self, source: str) -> dict[str, Encoder]:
        """The encoders of a source, by stream."""
        return {stream: encoder for stream, encoder in self.encoders.items() if encoder.source == source}


@dataclass(frozen=True)
class _EncodedSound:
    """The sound of a window, by stream; several lanes may need it."""

    window: tuple[float, float]
    vectors: dict[str, Vectors]
    reach_s: tuple[float, float]
    """From when to when the encoders had sound, in the time of the recording."""


@dataclass(frozen=True)
class _Presence:
    """One person in one stretch: the track that shows them best, and why nothing can be read from it."""

    track: str
    why: str


class WindowReader:
    """Reads one recording, or what of it comes after `from_s`, and gives the input of each window of each lane.

    Frames and spans are counted from there; times of inputs and places are those of the recording.
    """

    def __init__(self, streams: Streams, info: MediaInfo, setup: Setup, *, from_s: float = 0.0) -> None:
        self._streams, self._info, self._setup, self._from_s = streams, info, setup, from_s
        self._rate_hz, self._settings, self._stopwatch = setup.rate_hz, setup.settings, setup.stopwatch
        self._voiceprint = setup.voiceprint
        # The second stream is never reversed: reversed speech is not speech.
        self._directions = {"first": tuple(setup.directions), "second": ("forward",)}
        self._of_faces, self._of_frames, self._of_sound = (
            setup.encoders_of(source) for source in ("face", "frame", "sound")
        )
        has_eyes, has_ears = bool(self._of_faces or self._of_frames), bool(self._of_sound)
        self._no_picture = NO_PICTURE if has_eyes and not info.has_video else ""
        self._no_sound = NO_SOUND if has_ears and not info.has_sound else ""
        self._frames: Iterator[TrackedFrame] = iter(())
        if has_eyes and info.has_video:
            self._frames = self._until_broken(self._tracked(for_one_recording(setup.detector)), "picture")
        blocks: Iterator[Float32[np.ndarray, " n"] | None] = iter(())
        if has_ears and info.has_sound:
            blocks = streams.sound(from_s)
        self._sound = SoundBuffer(self._until_broken(self._stopwatch.timed("decode sound", blocks), "sound"))
        self._n_frames, self._frames_over = 0, False
        self._blank_frames: set[int] = set()
        self.blank: set[int] = set()
        """Stretches in which no frame shows anything."""
        self._broken: MediaError | None = None
        # Everybody in a window hears the same sound: it is encoded once, not once per face.
        self._encoded_sound: _EncodedSound | None = None
        self._utterances = {
            stream: Utterances(self._sound, encoder, self._directions[stream], live=streams.live)
            for stream, encoder in self._of_sound.items()
            if isinstance(encoder, ContextEncoder)
        }
        self._scene = {stream: FrameBuffer(encoder) for stream, encoder in self._of_frames.items()}
        self._live: dict[str, Lane] = {}
        self.people = People(setup.identity, self._rate_hz)
        self.lanes: dict[str, Lane] = {}
        """By name of the track, or of one of `NOBODY`."""

    def spans(self, length: int, hop: int) -> Iterator[Span]:
        """Each window once it is read, with the stretches it speaks for; length and hop in frames.

        The last window ends with the recording; a recording shorter than a window is one.
        """
        rate_hz, hop_s, spoken_s = self._rate_hz, hop / self._rate_hz, 0.0
        window = None
        # Neither stream can be trusted to say how long it is, so windows are counted until both have ended.
        for start in count(0, hop):
            stop_s = (start + length) / rate_hz
            self._read_until(stop_s)
            if self._frames_over and self._sound.exhausted and self.end_s < stop_s - 1e-6:
                if self._broken is not None and not self._n_frames and not self._sound.end_s:
                    raise self._broken  # nothing was read at all: a fault of the file, not a recording of nothing
                # The rest: a window that would end within half a hop of the last one would repeat it.
                end_s = self.end_s
                if window is None:
                    window = 0.0, end_s
                elif end_s - window[1] > hop_s / 2:
                    window = max(0.0, end_s - length / rate_hz), end_s
                # Windows that do not overlap may have spoken for all of it.
                if not spoken_s or spoken_s < end_s - 1e-6:
                    yield from _spans(window, spoken_s, end_s, hop_s if self._n_frames or self._sound.end_s else inf)
                return
            window = start / rate_hz, stop_s
            # The middle of the window plus half a hop, where the next window's stretch begins.
            until_s = (start + (length + hop) / 2) / rate_hz
            yield from _spans(window, spoken_s, until_s, hop_s)
            spoken_s = until_s
            # What a window before the next one needs is dropped at once: memory does not grow with the recording.
            self._forget(start)

    def inputs(self, number: int, span: Span) -> Iterator[WindowInput]:
        """What there is of each lane in a window just read; lanes note what it rests on, and what is missing why."""
        window = self._frames_of(span.start_s, span.end_s)
        spoken = self._frames_of(span.from_s, span.until_s)
        voice, unheard = self._voice(span)
        if (spoken_frames := range(*spoken)) and self._blank_frames.issuperset(spoken_frames):
            self.blank.add(number)
        # Before lanes are looked at: a track may turn out to be somebody who was lost.
        self.people.settle(self._n_frames)
        present = self._present(window, spoken)
        visible = {person: presence for person, presence in present.items() if presence.why != NO_FACE}
        # Without a voice nobody has to be found for it.
        rivals = self._rivals(visible, window, spoken) if voice else {}
        speaker = self._speaker(rivals, window, span) if rivals else None
        for person, presence in present.items():
            if person not in visible:
                self._live[presence.track].basis[number] = ("", NO_FACE)
            elif not rivals or person == speaker:
                yield from self._input(presence.track, number, window, presence.why, voice, unheard)
            else:
                unheard_of = ANOTHER_VOICE if speaker else WHOSE_VOICE
                yield from self._input(presence.track, number, window, presence.why, {}, unheard_of)
        if not visible:
            over = self._frames_over and sum(spoken) / 2 >= self._n_frames > 0
            why = self._no_picture or (NO_PICTURE if over else NO_FACE if self._of_faces else "")
            name = self._lane_of_nobody(over)
            yield from self._input(name, number, window, why, voice, unheard)
            if voice and self._voiceprint is not None:
                samples = around_middle(self._sound.samples(span.start_s, span.end_s))
                with self._stopwatch("encode voices"), threads_for(self._voiceprint):
                    self.lanes[name].voiceprints[number] = encode(self._voiceprint, samples, "forward")[0]

    @property
    def end_s(self) -> float:
        """Time up to which the recording was read; what its file says where neither stream can be read."""
        frames_s, sound_s = self._n_frames / self._rate_hz, self._sound.end_s
        # Containers rarely end both tracks together; see TAIL_S.
        if frames_s and sound_s - frames_s < TAIL_S:
            return frames_s
        return max(frames_s, sound_s) or max(0.0, self._info.duration_s - self._from_s)

    def _frames_of(self, start_s: float, end_s: float) -> Frames:
        return round(start_s * self._rate_hz), round(end_s * self._rate_hz)

    def _present(self, window: Frames, spoken: Frames) -> dict[str, _Presence]:
        """Everybody who is found, or held, in a window, as they are in the stretch that it speaks for."""
        tracks: dict[str, list[str]] = {}
        for name, lane in self._live.items():
            # A box of a few frames beside other people is more often a mistake of the detector than a person.
            if lane.sightings.any(*window) and not self.people.is_brief(name, self._n_frames):
                tracks.setdefault(self.people.person_of(name), []).append(name)
        clear_frames = set(range(*spoken)) - self._blank_frames
        face_frames = {person: self._frames_found(names, *spoken) for person, names in tracks.items()}
        present = {}
        for person, names in tracks.items():
            # Several tracks of one person in one window: after a cut, or where a face was lost for a moment.
            best = max(names, key=lambda name: len(self._live[name].sightings.frames(*spoken)))
            with_face = (
                set().union(*(self._live[name].sightings.frames(*spoken) for name in names)) - self._blank_frames
            )
            why = ""
            if len(with_face) < self._settings.face_share * max(1, len(clear_frames)):
                why = NO_FACE
            elif not face_frames[person] and any(
                face_frames[other] and not self._were_seen_together(names, tracks[other], window) for other in tracks
            ):
                why = NO_FACE  # only held, and somebody is there with whom they were never seen: the same face, perhaps
            elif self._live[best].sightings.width_px(*spoken) < self._settings.face_px:
                why = SMALL_FACE
            present[person] = _Presence(best, why)
        return present

    def _rivals(self, visible: Mapping[str, _Presence], window: Frames, spoken: Frames) -> dict[str, str]:
        """Tracks of everybody who may be speaking, by person; empty if it can be nobody but the one who is seen.

        Somebody who was missed for a moment still is a rival of those beside whom they were found.
        """
        rivals = {person: presence.track for person, presence in visible.items()}
        # Detectors miss a face for some frames when it turns; it does not stop speaking for that.
        hold = round(HOLD_S * self._rate_hz)
        for name, lane in self._live.items():
            person = self.people.person_of(name)
            was_there = lane.sightings.frames_found(spoken[0] - hold, spoken[1] + hold)
            beside = (self._were_seen_together([name], [presence.track], window) for presence in visible.values())
            if person not in rivals and was_there and any(beside):
                rivals[person] = name
        return rivals if len(rivals) > 1 else {}

    def _frames_found(self, tracks: Sequence[str], start: int, stop: int) -> set[int]:
        """Frames in which any of these tracks was really found."""
        return set().union(*(self._live[name].sightings.frames_found(start, stop) for name in tracks))

    def _were_seen_together(self, tracks: Sequence[str], others: Sequence[str], window: Frames) -> bool:
        return bool(self._frames_found(tracks, *window) & self._frames_found(others, *window))

    def _speaker(self, rivals: Mapping[str, str], window: Frames, span: Span) -> str | None:
        """Who of several people speaks; nobody where that is unclear."""
        motions = {person: self._live[track].mouth.between(*window) for person, track in rivals.items()}
        samples = self._sound.samples(span.start_s, span.end_s)
        with self._stopwatch("who speaks"):
            return who_speaks(motions, samples, self._rate_hz, self._settings)

    def _input(
        self, name: str, number: int, window: Frames, unseen: str, voice: Mapping[str, Vectors], unheard: str
    ) -> Iterator[WindowInput]:
        """The input of one lane if there is anything of it; `unseen` and `unheard` say why a stream is missing."""
        lane = self.lanes.setdefault(name, Lane())
        buffers = dict(self._scene)
        if not unseen:
            buffers |= {stream: path.buffer for stream, path in lane.paths.items()}
        vectors = dict(voice)
        with self._stopwatch("prepare and encode frames"):
            for stream, buffer in buffers.items():
                if buffer.holds(*window):
                    # Sums of several threads differ in their last bits, and features of small encoders must not.
                    with threads_for(buffer.encoder):
                        vectors[stream] = {
                            direction: buffer.vectors(*window, direction) for direction in self._directions[stream]
                        }
        of_sight = {stream for stream in vectors if stream not in self._of_sound}
        # What an answer rests on is what was encoded, not what was asked for.
        modality: Modality = "face" if of_sight & self._of_faces.keys() else "picture" if of_sight else ""
        if voice:
            modality = "both" if of_sight else "voice"
        lane.basis[number] = (modality, "; ".join(reason for reason in (unseen, unheard) if reason))
        if vectors:
            start_s, end_s = (self._from_s + frame / self._rate_hz for frame in window)
            second = vectors.get("second", {}).get("forward")
            heard_s = self._encoded_sound.reach_s if voice and self._encoded_sound else (start_s, end_s)
            reach_s = min(start_s, heard_s[0]), max(end_s, heard_s[1])
            yield WindowInput(name, number, start_s, end_s, vectors.get("first", {}), second, reach_s)

    def _voice(self, span: Span) -> tuple[dict[str, Vectors], str]:
        """The vectors of a window of sound by stream, or why nobody is heard in the stretch it speaks for."""
        if self._no_sound or not self._of_sound:
            return {}, self._no_sound
        samples = self._sound.samples(span.start_s, span.end_s)
        # Judged over the stretch the window speaks for, not over all of it: a word at its edge belongs to the
        # neighbour.
        why = why_not_heard(samples, self._settings, span.from_s - span.start_s, span.until_s - span.start_s)
        if why:
            return {}, why
        window = span.start_s, span.end_s
        if self._encoded_sound is None or self._encoded_sound.window != window:
            self._encoded_sound = self._encode_sound(window, samples)
        vectors = self._encoded_sound.vectors
        return (vectors, "") if all(vectors.values()) else ({}, NO_SPEECH)

    def _encode_sound(self, window: tuple[float, float], samples: Float32[np.ndarray, " N"]) -> _EncodedSound:
        vectors: dict[str, Vectors] = {}
        reach_s = window
        for stream, encoder in self._of_sound.items():
            with self._stopwatch("encode sound"), threads_for(encoder):
                if stream in self._utterances:
                    vectors[stream], reach_s = self._utterances[stream].window(*window)
                else:
                    prepared = prepared_sound(samples, sound_settings(encoder))
                    vectors[stream] = {
                        direction: encode(encoder, prepared, direction) for direction in self._directions[stream]
                    }
        return _EncodedSound(window, vectors, (self._from_s + reach_s[0], self._from_s + reach_s[1]))

    def _lane_of_nobody(self, frames_over: bool) -> str:
        if self._no_picture or frames_over or not (self._of_faces or self._of_frames):
            return VOICE
        return OFF_SCREEN if self._of_faces else SCENE

    def _tracked(self, detector: FaceDetector) -> Iterator[TrackedFrame]:
        """Frames as in training, with their faces where an encoder reads faces."""
        encoders = [*self._of_faces.values(), *self._of_frames.values()]
        # Scaled while decoding, to the largest side that any encoder reads, as in extraction: other sizes give other
        # features.
        max_side = max(scaled_down_to(side_of(encoder), resampling_of(encoder)) for encoder in encoders)
        decoded = self._streams.frames(self._rate_hz, self._from_s, max_side)
        scaled = read_ahead(self._stopwatch.timed("decode and scale frames (beside the rest)", decoded), FRAMES_AHEAD)
        tracked: Iterator[TrackedFrame] = (TrackedFrame(frame, {}) for frame in scaled)
        if self._of_faces:
            # The detector computes without Python's lock, so a thread of its own keeps a second core busy.
            tracked = read_ahead(track_faces(scaled, _Timed(detector, self._stopwatch)), FRAMES_AHEAD)
        yield from self._stopwatch.timed("wait for frames", tracked)

    def _until_broken(self, stream: Iterator[Any], kind: Literal["picture", "sound"]) -> Iterator[Any]:
        """A stream that ends where it cannot be decoded: the other one may still say something."""
        try:
            yield from stream
        except MediaError as error:
            self._broken = error
            reason = first_line(error)
            logger.warning("%s", reason)
            if kind == "picture":
                self._no_picture = BROKEN_PICTURE
            else:
                self._no_sound = BROKEN_SOUND

    def _read_until(self, time_s: float) -> None:
        """Read sound up to here, and frames as far beyond as smoothing reaches."""
        self._sound.read_until(time_s)
        reach = REACH_S * self._rate_hz
        # Crops are smoothed over frames on both sides, so faces have to be read further than sound.
        while not self._frames_over and self._n_frames < time_s * self._rate_hz + reach:
            frame = next(self._frames, None)
            if frame is None:
                self._frames_over = True
            else:
                self._add(frame)
                self._n_frames += 1
        for lane in self._live.values():
            for path in lane.paths.values():
                path.release(inf if self._frames_over else self._n_frames - reach)

    def _add(self, tracked: TrackedFrame) -> None:
        """Keep what of a frame is needed later."""
        pixels, index = tracked.frame.pixels, self._n_frames
        if shows_nothing(pixels):
            self._blank_frames.add(index)
        for stream, buffer in self._scene.items():
            encoder = self._of_frames[stream]
            buffer.add(index, whole_frame(pixels, side_of(encoder), resampling_of(encoder)))
        for track in tracked.cut_off:
            self.people.cut_off(name_of(track))
        for track, box in tracked.boxes.items():
            name, is_held = name_of(track), track in tracked.held
            time_s = self._from_s + index / self._rate_hz
            place = place_of(box, pixels, time_s)
            if name not in self.lanes:
                self.lanes[name] = self._live[name] = self._lane_of_track(name)
            lane = self.lanes[name]
            # In pixels of the recording: `face_px` is about what the camera saw, not about the scaled frame.
            lane.sightings.add(index, box.width * self._info.width / pixels.shape[1], is_held=is_held)
            # A held box is where a face was; it must not vouch for what somebody looks like.
            if not is_held:
                self.people.see(name, index, Box(place.left, place.top, place.width, place.height, box.confidence))
            if not lane.places or time_s >= lane.places[-1].time_s + 1 / PLACES_HZ - 1e-6:
                lane.places.append(place)
            for path in lane.paths.values():
                path.add(index, tracked, track)

    def _lane_of_track(self, name: str) -> Lane:
        """A new lane; mouth and likeness are seen in the crops of its first encoder."""
        lane = Lane()

        def look(index: int, crop: UInt8[np.ndarray, "S S 3"]) -> None:
            lane.mouth.add(index, crop)
            if lane.sightings.frames_found(index, index + 1):
                self.people.look(name, index, crop)

        for stream, encoder in self._of_faces.items():
            # One look per frame is enough, whatever the number of encoders.
            watch = [] if lane.paths else [look]
            lane.paths[stream] = FacePath(encoder, self._rate_hz, watch=watch, stopwatch=self._stopwatch)
        return lane

    def _forget(self, before: int) -> None:
        """Drop what came before this frame, and the crops of faces that are gone."""
        before_s = before / self._rate_hz
        for utterances in self._utterances.values():
            utterances.forget(before_s)
        self._blank_frames = {index for index in self._blank_frames if index >= before}
        self._sound.forget(min([before_s, *(utterances.needs_s for utterances in self._utterances.values())]))
        for buffer in self._scene.values():
            buffer.forget(before)
        gone = []
        for name, lane in list(self._live.items()):
            lane.sightings.forget(before)
            lane.mouth.forget(before)
            for path in lane.paths.values():
                path.buffer.forget(before)
            # Gone for longer than a window: crops are the largest thing in memory. The lane itself stays, with its
            # answers.
            if not lane.sightings.any(before, self._n_frames):
                lane.paths.clear()
                del self._live[name]
                gone.append(name)
        self.people.settle(self._n_frames, gone)

    def forget_stretches(self, before: int) -> None:
        """Drop what is known of stretches before this one, and lanes of which nothing is left."""
        self.blank = {number for number in self.blank if number >= before}
        for name, lane in list(self.lanes.items()):
            lane.keep({number for number in lane.basis if number >= before})
            lane.places = lane.places[-1:]
            if not lane.basis and name not in self._live:
                del self.lanes[name]


def shows_nothing(pixels: UInt8[np.ndarray, "H W 3"]) -> bool:
    """Whether a frame has one colour all over (black, white, grey) or is the noise of a television."""
    # Coarsely first: of nearly every frame that is enough, at a fifteenth of the time.
    if all(pixels[::step, ::step].std(axis=(0, 1)).max() < BLANK_DEVIATION for step in (16, 4)):
        return True
    rows, columns = (
        np.linspace(0, max(0, size - NOISE_PIXELS), NOISE_PATCHES).astype(int) for size in pixels.shape[:2]
    )
    patches = (pixels[top : top + NOISE_PIXELS, left : left + NOISE_PIXELS, 1] for top in rows for left in columns)
    return all(map(_is_noise, patches))


def _is_noise(patch: UInt8[np.ndarray, "h w"]) -> bool:
    """Whether neighbouring pixels of a patch say little of each other."""
    values = patch.astype(np.float32)
    spread = 2 * float(values.var())
    return spread > 2 * BLANK_DEVIATION**2 and all(
        float((np.diff(values, axis=axis) ** 2).mean()) > NOISE_CHANGE * spread for axis in (0, 1)
    )


def name_of(track: int) -> str:
    """What the lane of a track is called until its person is known."""
    return f"face {track}"


def _spans(window: tuple[float, float], from_s: float, until_s: float, hop_s: float) -> Iterator[Span]:
    """Equal stretches of a hop at most."""
    # The first and the last window speak for more than a hop; cut into hops, all cells of a recording are alike.
    pieces = max(1, ceil((until_s - from_s) / hop_s - 1e-6))
    edges = [from_s + (until_s - from_s) * piece / pieces for piece in range(pieces)] + [until_s]
    yield from (Span(*window, *stretch) for stretch in pairwise(edges))


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
        with self.stopwatch("detect faces (beside the rest)"):
            return self.detector(pixels)


def threads_for(encoder: Encoder) -> AbstractContextManager[object]:
    """One thread for small work, all of torch's for a network."""
    return nullcontext() if encoder.heavy else one_thread()


def place_of(box: Box, pixels: UInt8[np.ndarray, "H W 3"], time_s: float) -> Place:
    """A box in fractions of its frame."""
    height, width = pixels.shape[:2]
    sides = (box.left / width, box.top / height, box.width / width, box.height / height)
    return Place(round(time_s, 3), *(round(side, 4) for side in sides))


def rate_of(encoder: Encoder) -> float:
    """Frames a second that an encoder reads."""
    rate_hz = encoder.preprocessing["rate_hz"]
    assert isinstance(rate_hz, int | float), "encoders of frames say how many a second they want"
    return float(rate_hz)
