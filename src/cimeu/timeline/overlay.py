"""The recording with what was recognised drawn on it: a box per face, its label, and a bar for the confidence.

Frames stream through one at a time with their own time stamps; the sound (mixed to one channel) is placed by the same
clock. Use limits and model stand in a small caption over the first seconds, away from the faces; the metadata of the
file hold them too, and the preprocessing.

Axes: H rows, W columns, 3 colours (RGB), N samples.
"""

import logging
import textwrap
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from cimeu.errors import MediaError, first_line
from cimeu.media.audio import stream_sound
from cimeu.media.container import open_media
from cimeu.media.pixels import add_video_stream, encodable, even_sized
from cimeu.media.video import Frame, frames, probe
from cimeu.plots.fonts import file_for
from cimeu.timeline.blur import FaceBlur
from cimeu.timeline.segments import UNSURE, USE_LIMITS, Place, Segment, Segmentation
from cimeu.timeline.style import NOTHING, colours_of, shortened

logger = logging.getLogger(__name__)

OVERLAY = ".mp4"
MAX_SIDE = 1280
"""Larger frames are scaled down."""
CAPTION_S = 5.0
"""How long the use limits are shown."""
CAPTION_PX = 7
"""Least height of its letters."""
PLATE = 1.7
"""Height of the words beside a face, in heights of their letters."""
LOST_S = 0.5
"""A box is not drawn across a longer gap between two places of a face."""
LONGEST_NAME = 24
"""Characters of a person's name in the picture, where the emotion must have room behind it."""
CLOCK_HZ = 48_000
"""Ticks of the file's time stamps, and samples of its sound, a second."""
BLANK_RATE_HZ = 5.0
"""Frames a second where the recording has none."""


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """What of a recording an annotated video shows."""

    blur_faces: bool = False
    """Cover every face; frames then keep their size."""
    sound: bool = True
    """Keep the sound, by which people can be recognised too."""


def write_overlay(timeline: Segmentation, path: Path, options: VideoOptions | None = None) -> None:
    """Write an mp4 (H.264 and AAC).

    Raises:
        MediaError: the recording is gone or cannot be decoded.
    """
    media, options = timeline.media_path, options or VideoOptions()
    info = probe(media)
    draw = Drawing(timeline)
    blur = None
    if options.blur_faces and info.has_video:
        blur = FaceBlur.of_recording(media, (place for places in timeline.places.values() for place in places))
    # The index in front, so that a browser plays before the file is whole.
    with av.open(str(path.absolute()), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata.update({"title": timeline.header.media, "comment": "\n".join(timeline.header.lines())})
        # Faces are covered at the size they were found at; a scaled frame would need another search.
        max_side = None if blur else MAX_SIDE
        shown = frames(media, rate_hz=None, max_side=max_side) if info.has_video else _blank(info.duration_s)
        first = next(shown)
        height, width = even_sized(first.pixels).shape[:2]
        video = add_video_stream(container, 30, width, height, {"crf": "23", "preset": "veryfast"})
        # One clock for frames and samples: recordings of varying frame rate keep their own times.
        video.codec_context.time_base = Fraction(1, CLOCK_HZ)
        sound = _Sound(container, media) if info.has_sound and options.sound else None
        ticks, scaler = -1, VideoReformatter()
        for frame in chain([first], shown):
            covered = replace(frame, pixels=blur(frame.pixels, frame.time_s)) if blur else frame
            drawn = encodable(draw(covered), scaler)
            # Encoders want times that rise; some recordings repeat one.
            ticks = max(ticks + 1, round(frame.time_s * CLOCK_HZ))
            drawn.pts, drawn.time_base = ticks, Fraction(1, CLOCK_HZ)
            container.mux(video.encode(drawn))
            if sound is not None:
                sound.write_until(ticks)
        container.mux(video.encode(None))
        if sound is not None:
            sound.finish()


def is_overlay(path: Path) -> bool:
    """Whether a file is an annotated copy that `write_overlay` made, wherever it lies now."""
    if path.suffix.lower() != OVERLAY:
        return False
    try:
        with open_media(path) as container:  # opens regular files only: a pipe would wait for ever
            return container.metadata.get("comment", "").startswith(USE_LIMITS)
    except MediaError:
        return False


class Drawing:
    """Draws what is known of one moment on its frame."""

    def __init__(self, timeline: Segmentation) -> None:
        self._header, self._colours = timeline.header, colours_of(timeline.header.emotions)
        self._lanes = {
            person: [segment for segment in timeline.segments if segment.person == person]
            for person in timeline.persons
        }
        self._starts = {person: [entry.start_s for entry in lane] for person, lane in self._lanes.items()}
        self._places = timeline.places
        self._times = {person: [place.time_s for place in places] for person, places in timeline.places.items()}
        self._early = [entry for places in timeline.places.values() for entry in places if entry.time_s < CAPTION_S]

    def __call__(self, frame: Frame) -> UInt8[np.ndarray, "h w 3"]:
        """The frame with its boxes; odd sizes gain a repeated row or column."""
        image = Image.fromarray(even_sized(frame.pixels))
        draw, size = ImageDraw.Draw(image, "RGBA"), max(10, round(min(image.size) / 24))
        below = 0
        for person in self._lanes:
            segment, place = self._segment(person, frame.time_s), self._place(person, frame.time_s)
            if segment is not None and place is not None:
                self._face(draw, image.size, place, segment, size)
            elif segment is not None and not self._places.get(person):
                below += round(1.6 * size)
                self._words(draw, segment, (size // 2, image.height - below), size)
        if self._header.demonstration:
            self._plate(draw, (size // 2, size // 2), "DEMONSTRATION: trained on synthetic data", size, "#f2cc8f")
        if frame.time_s < CAPTION_S:
            self._caption(draw, image.size)
        return np.asarray(image)

    def _segment(self, person: str, time_s: float) -> Segment | None:
        index = bisect_right(self._starts[person], time_s) - 1
        segment = self._lanes[person][index] if index >= 0 else None
        return segment if segment is not None and time_s < segment.end_s else None

    def _place(self, person: str, time_s: float) -> Place | None:
        times = self._times.get(person, [])
        index = bisect_right(times, time_s) - 1
        if index < 0 or time_s - times[index] > LOST_S:
            return None
        before, after = (self._places[person][min(number, len(times) - 1)] for number in (index, index + 1))
        if not 0 < after.time_s - before.time_s <= LOST_S:
            return before
        return between(before, after, (time_s - before.time_s) / (after.time_s - before.time_s))

    def _face(
        self,
        draw: ImageDraw.ImageDraw,
        extent: tuple[int, int],
        place: Place,
        segment: Segment,
        size: int,
    ) -> None:
        width, height = extent
        left, top = place.left * width, place.top * height
        right, bottom = left + place.width * width, top + place.height * height
        draw.rectangle((left, top, right, bottom), outline=self._colour(segment), width=max(2, size // 8))
        # Above the face; below it where the frame ends there, so that the words cover no face.
        above = round(top - PLATE * size)
        room_below = bottom + PLATE * size <= height
        y = above if above >= 0 or not room_below else round(bottom)
        self._words(draw, segment, (max(0, round(left)), max(0, y)), size)

    def _words(self, draw: ImageDraw.ImageDraw, segment: Segment, at: tuple[int, int], size: int) -> None:
        """Who, what and how sure, with a bar as long as the confidence below."""
        what = segment.label or segment.reason or UNSURE
        sure = "" if segment.confidence is None else f" {segment.confidence:.2f}"
        left, _, right, bottom = self._plate(
            draw, at, f"{shortened(segment.person, LONGEST_NAME)}: {what}{sure}", size, self._colour(segment)
        )
        if segment.confidence is not None:
            thick = max(2, size // 6)
            draw.rectangle((left, bottom - thick, right, bottom), fill="#00000060")
            draw.rectangle((left, bottom - thick, left + (right - left) * segment.confidence, bottom), fill="#10151b")

    def _plate(
        self,
        draw: ImageDraw.ImageDraw,
        at: tuple[int, int],
        text: str,
        size: int,
        colour: str,
    ) -> tuple[float, float, float, float]:
        """Dark words on a coloured plate; gives the plate's sides."""
        font = _font(text, size)
        length = draw.textlength(text, font) + 8
        at = (max(0, min(at[0], round(draw.im.size[0] - length))), at[1])  # all of it inside the frame, if it has room
        left, _, right, bottom = draw.textbbox(at, text, font=font)
        plate = (float(left - 3), float(at[1]), float(right + 3), float(bottom + 9))
        draw.rectangle(plate, fill=colour)
        draw.text(at, text, font=font, fill="#10151b")
        return plate

    def _caption(self, draw: ImageDraw.ImageDraw, extent: tuple[int, int]) -> None:
        """Use limits and model, in small letters, at the edge of the frame where no face is in the first seconds."""
        width, height = extent
        size = max(CAPTION_PX, height // 50)
        columns = max(20, int(width / (0.52 * size)))
        lines = [part for line in self._header.short_lines() for part in textwrap.wrap(line, columns)]
        tall = round(1.25 * size * len(lines)) + size
        top = self._free_edge(tall / height) * (height - tall)
        draw.rectangle((0, top, width, top + tall), fill="#10151bd8")
        for number, line in enumerate(lines):
            place = (size, top + size // 2 + round(1.25 * size * number))
            draw.text(place, line, font=_font(line, size), fill="#f3f5f7")

    def _free_edge(self, tall: float) -> int:
        """1 for the lower edge or 0 for the upper one: where a caption `tall` times the frame covers less of faces."""
        below = sum(max(0.0, place.top + place.height - (1 - tall)) for place in self._early)
        above = sum(max(0.0, tall - place.top) for place in self._early)
        return 1 if below <= above else 0

    def _colour(self, segment: Segment) -> str:
        return self._colours.get(segment.label, NOTHING)


def _font(text: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of Pillow; for other letters than those of ASCII one that has them."""
    return _font_of_file(None if text.isascii() else file_for(text), size)


@cache
def _font_of_file(file: Path | None, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)


def between(one: Place, other: Place, share: float | int) -> Place:
    """A place on the straight line from one to the other."""
    sides = ("time_s", "left", "top", "width", "height")
    return Place(*((1 - share) * getattr(one, side) + share * getattr(other, side) for side in sides))


class _Sound:
    """The recording's sound on its way into the file, never far ahead of the frames."""

    def __init__(self, container: av.container.OutputContainer, media: Path) -> None:
        stream = container.add_stream("aac", rate=CLOCK_HZ, layout="mono")
        assert isinstance(stream, av.AudioStream)
        stream.codec_context.time_base = Fraction(1, CLOCK_HZ)
        self._container, self._stream = container, stream
        # A broken sound track ends early, and the video continues.
        self._blocks = _until_broken(stream_sound(media, block_s=0.5, rate_hz=CLOCK_HZ))
        self._written = 0

    def write_until(self, ticks: int) -> None:
        """Write blocks until this many samples are written, or none is left."""
        while self._written < ticks:
            block = next(self._blocks, None)
            if block is None:
                return
            self._write(block)

    def finish(self) -> None:
        """Write what is left."""
        for block in self._blocks:
            self._write(block)
        self._container.mux(self._stream.encode(None))

    def _write(self, block: Float32[np.ndarray, " n"]) -> None:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = CLOCK_HZ, self._written, Fraction(1, CLOCK_HZ)
        self._container.mux(self._stream.encode(frame))
        self._written += len(block)


def _until_broken(blocks: Iterator[Float32[np.ndarray, " n"]]) -> Iterator[Float32[np.ndarray, " n"]]:
    try:
        yield from blocks
    except MediaError as error:
        logger.warning("%s", first_line(error))


def _blank(duration_s: float) -> Iterator[Frame]:
    """Dark frames for a recording without any."""
    pixels = np.full((360, 640, 3), 24, np.uint8)
    return (Frame(number / BLANK_RATE_HZ, pixels) for number in range(max(1, round(duration_s * BLANK_RATE_HZ))))
