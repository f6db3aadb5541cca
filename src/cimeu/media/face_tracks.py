"""Follow faces through a video.

Detection is expensive, so it runs about five times a second; a box that overlaps an earlier one is the same face, and
between two detections it moves in a straight line. A face that is not found again is held where it was for a moment.

No face is followed across a cut, neither of the whole frame nor of the part of it where the face is (somebody else at
the same place): its track ends, and whoever is found afterwards gets a new one. Which tracks
are one person is not decided here.

A cut of the frame is a change of more than `CUT_CHANGE` in the colours of a 16 x 16 mosaic from one frame to the next,
and of all but a quarter of its tiles: a hand before the lens covers a part. In six studio recordings of a talking head
(30 frames a second) the largest change was 0.01, and 0.032 within the box of the face. A lamp, a filter or another
exposure is none, nor is a loss of colour.

Axes: H rows, W columns, 3 colours (RGB), M tiles of a side, T tiles in all.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import astuple, dataclass, field
from itertools import count

import numpy as np
from jaxtyping import Float32, UInt8

from cimeu.media.faces import Box, FaceDetector
from cimeu.media.video import Frame

SAME_FACE_IOU = 0.3
"""Boxes of two detections that overlap at least this much are one face."""
HOLD_S = 0.5
"""A face not found again keeps its last box this long, then its track ends."""
CUT_CHANGE = 0.1
"""Share of the full colour range by which the mosaic changes at a cut of the frame."""
FACE_CUT_CHANGE = 0.03
"""The same within the box of one face,"""
FACE_CUT_FACTOR = 4.0
"""and so many times the usual change of the last frames: a head that turns changes as much, but not at once."""
USUAL_FRAMES, FEWEST_FRAMES = 10, 3
"""The usual change is the median of so many frames at most; with fewer than three, nothing is known of it."""
SAME_CHANGE, SAME_SHARE = 0.01, 0.35
"""A face of whose tiles more than a third change by less than this is covered in part, however little that changes it:
in six recordings, tiles beside the cover changed by 0.008 at most."""
COVER_CHANGE, UNTOUCHED_SHARE = 0.08, 0.25
"""A face whose part changes by more than this, but for a quarter of its tiles, is covered: somebody else at its place
changes them all. So it was for each of 132 pairs of drawn faces and for 97 of 100 pairs of photographed ones (LFW)."""
SAME_SCENE, FEWEST_TILES = 0.9, 64
"""Tiles beside the faces whose values, mapped in order, correlate so well show one scene, perhaps in other light; with
fewer of them, nothing is known of it."""
LIGHT_CHANGE, LIT_SHARE = 0.05, 0.3
"""Some tile beside the faces changes by so much in another light (without, 0.04 at most). With the light taken into
account, a face that was only lit keeps less than this share of its change (0.2 in six recordings made up to twice as
bright); another face keeps more in 19 of 20 pairs (LFW)."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
FRAME_TILES, FACE_TILES = 16, 8
TILE_PIXELS = 4
"""Pixels per side of a tile that its mean is taken from, spread evenly over it."""


Light = list[tuple[Float32[np.ndarray, " T"], Float32[np.ndarray, " T"]]]
"""Which value of each colour became which, in rising order."""


@dataclass(frozen=True)
class TrackedFrame:
    """A frame with the faces on it, by the number of their track."""

    frame: Frame
    boxes: dict[int, Box]
    held: frozenset[int] = frozenset()
    """Faces among `boxes` that were not found again: their box is where they were last."""
    cut_off: frozenset[int] = frozenset()
    """Faces of the frame before whose tracks end here at a cut."""


@dataclass
class _Track:
    """A face that is being followed."""

    box: Box
    seen_s: float
    """Time of the last detection."""
    changes: deque[float] = field(default_factory=lambda: deque(maxlen=USUAL_FRAMES))
    """How much its part of the frame changed from frame to frame."""


def track_faces(
    frames: Iterable[Frame], detector: FaceDetector, *, detect_rate_hz: float | int = 5.0
) -> Generator[TrackedFrame, None, None]:
    """Faces of every frame. Streams: it reads ahead to the next detection only."""
    numbers = count()
    tracks: dict[int, _Track] = {}
    waiting: list[Frame] = []  # the frame of the last detection and those since
    cut_off: frozenset[int] = frozenset()
    before: Frame | None = None
    for frame in frames:
        ended = _cut_off(tracks, before, frame)
        before = frame
        # A few detections a second follow a face well enough; after a cut one is due at once.
        if waiting and not ended and frame.time_s < waiting[0].time_s + 1 / detect_rate_hz - 1e-6:
            waiting.append(frame)
            continue
        boxes = detector(frame.pixels)
        alive = {number: track for number, track in tracks.items() if number not in ended}
        again, appeared = _matched({number: track.box for number, track in alive.items()}, boxes)
        yield from _released(waiting, tracks, again, frame.time_s, ended, cut_off)
        for number, box in again.items():
            tracks[number].box, tracks[number].seen_s = box, frame.time_s
        tracks = {number: track for number, track in alive.items() if frame.time_s - track.seen_s <= HOLD_S}
        tracks |= {next(numbers): _Track(box, frame.time_s) for box in appeared}
        waiting, cut_off = [frame], ended
    yield from _released(waiting, tracks, {}, np.inf, frozenset(tracks), cut_off)


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    across = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    down = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    # Boxes that do not meet have negative extents.
    shared = max(0.0, across) * max(0.0, down)
    return shared / (one.width * one.height + other.width * other.height - shared)


def _cut_off(tracks: dict[int, _Track], before: Frame | None, frame: Frame) -> frozenset[int]:
    """Faces that end between two frames: all at a cut of the frame, one where only its own part changes at once."""
    if before is None or before.pixels.shape != frame.pixels.shape:
        return frozenset(tracks)
    height, width = frame.pixels.shape[:2]
    whole = Box(0.0, 0.0, float(width), float(height), 1.0)
    # A cut of the whole frame first: then every face ends, whatever its own part shows.
    mosaics = _mosaic(before.pixels, whole, FRAME_TILES), _mosaic(frame.pixels, whole, FRAME_TILES)
    light = _change_of_light(*mosaics, (height, width), [track.box for track in tracks.values()])
    changes = _changes(*mosaics, light)
    is_whole = np.quantile(changes, UNTOUCHED_SHARE) > FACE_CUT_CHANGE
    if changes.mean() > CUT_CHANGE and is_whole and not _is_recoloured(*mosaics):
        return frozenset(tracks)
    ended = set()
    for number, track in tracks.items():
        parts = _mosaic(before.pixels, track.box, FACE_TILES), _mosaic(frame.pixels, track.box, FACE_TILES)
        changes = _changes(*parts)
        change = float(changes.mean())
        is_lit = (bool(light) and _changes(*parts, light).mean() < LIT_SHARE * change) or _is_recoloured(*parts)
        # The median, because one flash must not become what is usual.
        usual = float(np.median(track.changes)) if len(track.changes) >= FEWEST_FRAMES else CUT_CHANGE
        is_covered = change > COVER_CHANGE and np.quantile(changes, UNTOUCHED_SHARE) < FACE_CUT_CHANGE
        is_covered |= bool(np.quantile(changes, SAME_SHARE) < SAME_CHANGE)
        if change > max(FACE_CUT_CHANGE, FACE_CUT_FACTOR * usual) and not is_covered and not is_lit:
            ended.add(number)
        track.changes.append(change)
    return frozenset(ended)


def _change_of_light(
    one: Float32[np.ndarray, "M M 3"], other: Float32[np.ndarray, "M M 3"], size: tuple[int, int], faces: list[Box]
) -> Light:
    """How the light changed; empty where it did not, or the frames do not show one scene beside the faces.

    Exposure, a lamp or a filter move all values and keep their order, so that sorted values belong together.
    """
    beside = np.ones(one.shape[:2], bool)
    rows, columns = ((np.arange(FRAME_TILES) + 0.5) * extent / FRAME_TILES for extent in size)
    for face in faces:
        # With hair and neck: another person would be taken for another light.
        within = np.abs(rows - face.top - face.height / 2) <= 0.75 * face.height
        beside &= ~np.outer(within, np.abs(columns - face.left - face.width / 2) <= 0.75 * face.width)
    # Where nothing changes beside them, a face that does is another one, not the same in another light.
    if beside.sum() < FEWEST_TILES or np.abs(one - other)[beside].max() / 255 < LIGHT_CHANGE:
        return []
    light = [(np.sort(one[..., colour], axis=None), np.sort(other[..., colour], axis=None)) for colour in range(3)]
    expected, shown = (values - values.mean() for values in (_in_light(one, light)[beside], other[beside]))
    spread = float(np.sqrt((expected**2).sum() * (shown**2).sum()))
    return light if spread > 1e-6 and float((expected * shown).sum()) >= SAME_SCENE * spread else []


def _in_light(mosaic: Float32[np.ndarray, "*tiles 3"], light: Light) -> Float32[np.ndarray, "*tiles 3"]:
    """What a mosaic looks like after a change of light."""
    colours = [np.interp(mosaic[..., colour], *pair) for colour, pair in enumerate(light)]
    return np.stack(colours, axis=-1).astype(np.float32)


def _is_recoloured(one: Float32[np.ndarray, "M M 3"], other: Float32[np.ndarray, "M M 3"]) -> bool:
    """Whether colours changed and light and dark hardly did: a picture that loses its colour shows the same face."""
    grey = float(np.abs((one - other) @ LUMA).mean())
    return grey < LIT_SHARE * float(np.abs(one - other).mean())


def _changes(
    one: Float32[np.ndarray, "M M 3"], other: Float32[np.ndarray, "M M 3"], light: Light | None = None
) -> Float32[np.ndarray, "M M"]:
    """Difference of each tile of two mosaics, as a share of the full range; changes of light are none."""
    differences = np.abs(one - other).mean(axis=-1)
    if light:
        # Whichever is nearer: where little changed, the mapping of values only adds noise.
        differences = np.minimum(differences, np.abs(_in_light(one, light) - other).mean(axis=-1))
    return differences / 255


def _mosaic(pixels: UInt8[np.ndarray, "H W 3"], box: Box, n_tiles: int) -> Float32[np.ndarray, "M M 3"]:
    """Tiles of a part of a frame, each the mean of 4 x 4 pixels spread over it."""
    rows, columns = (
        np.linspace(start, start + extent - 1, n_tiles * TILE_PIXELS).astype(int).clip(0, size - 1)
        for start, extent, size in zip((box.top, box.left), (box.height, box.width), pixels.shape[:2], strict=True)
    )
    tiles = pixels[np.ix_(rows, columns)].reshape(n_tiles, TILE_PIXELS, n_tiles, TILE_PIXELS, 3)  # [M, 4, M, 4, 3]
    return tiles.mean(axis=(1, 3), dtype=np.float32)


def _matched(live: dict[int, Box], boxes: list[Box]) -> tuple[dict[int, Box], list[Box]]:
    """Faces found again, by number, and the boxes that are new: the best overlaps first."""
    # Greedy by overlap is enough: between two detections faces hardly move by a box.
    pairs = sorted(
        ((overlap(box, other), face, index) for face, box in live.items() for index, other in enumerate(boxes)),
        reverse=True,
    )
    again: dict[int, int] = {}
    for fit, face, index in pairs:
        if fit >= SAME_FACE_IOU and face not in again and index not in again.values():
            again[face] = index
    appeared = [box for index, box in enumerate(boxes) if index not in again.values()]
    return {face: boxes[index] for face, index in again.items()}, appeared


def _released(
    waiting: list[Frame],
    tracks: dict[int, _Track],
    after: dict[int, Box],
    after_s: float,
    ended: frozenset[int],
    cut_off: frozenset[int],
) -> Iterator[TrackedFrame]:
    """Frames between two detections: faces found in both move in a straight line, others stay where they were.

    A face that ends at a cut (or with the video) was there until then, if it was found at the first detection.
    """
    for frame in waiting:
        since_s = frame.time_s - waiting[0].time_s
        share = since_s / (after_s - waiting[0].time_s)  # 0 at the first detection, 1 at the next
        boxes = {number: _between(track.box, after.get(number, track.box), share) for number, track in tracks.items()}
        held = {
            number
            for number, track in tracks.items()
            if track.seen_s < waiting[0].time_s or (since_s > 0 and number not in after and number not in ended)
        }
        yield TrackedFrame(frame, boxes, frozenset(held), cut_off if since_s == 0 else frozenset())


def _between(one: Box, other: Box, share: float) -> Box:
    return Box(*((1 - share) * a + share * b for a, b in zip(astuple(one), astuple(other), strict=True)))
