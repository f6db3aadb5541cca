"""What is cut out of the frames of a clip: the main face, or the whole frame.

A region sees every frame once and keeps what it may need: of each large face a crop half as wide again. When the
clip is over, the main face is known, its path can be smoothed, and the final crops are cut from those. A clip whose
crops would fill the memory is seen twice: the first time only where its faces are is kept, and the second time each
crop is cut as its frame comes by. Both ways give the same pixels.

Axes: S side of a crop, P side of a wider crop.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import scipy  # its parts are imported when they are used
from jaxtyping import UInt8

from cimeu.media.face_crops import Resampling, square, stretched
from cimeu.media.face_tracks import TrackedFrame

CANDIDATES = 2
"""Crops of this many faces, the largest, are kept per frame until the main one is known."""
ROOM = 1.5
"""Crops kept until then are this much wider, so that the smoothed path stays inside."""
STEADY_S = 0.2
"""Deviation of the Gaussian that smooths the path of the face over time."""

Crops = Iterator[tuple[UInt8[np.ndarray, "S S 3"], int]]
"""Crops in the order of the frames, each with the number of frames in a row it stands for."""


@runtime_checkable
class Region(Protocol):
    """Sees frames in order, then gives their crops."""

    n_frames: int
    kept_bytes: int

    def see(self, tracked: TrackedFrame) -> None:
        """Take the next frame."""
        ...

    def forget(self) -> None:
        """Keep no pixels, from now on either: the frames will come by a second time."""
        ...

    def settle(self) -> str:
        """All frames were seen: why there are no crops, empty where there are."""
        ...

    def crops(self) -> Crops:
        """The crops, from what was kept."""
        ...

    def again(self, index: int, tracked: TrackedFrame) -> Crops:
        """The crops that frame `index` stands for, where nothing was kept."""
        ...


class WholeFrame:
    """Every frame, stretched to a square."""

    def __init__(self, side: int, resampling: Resampling) -> None:
        self._side, self._resampling = side, resampling
        self._kept: list[np.ndarray] | None = []
        self.n_frames = self.kept_bytes = 0

    def see(self, tracked: TrackedFrame) -> None:
        """Keep its crop."""
        self.n_frames += 1
        if self._kept is not None:
            self._kept.append(self._crop(tracked))
            self.kept_bytes += self._kept[-1].nbytes

    def forget(self) -> None:
        """Keep no pixels."""
        self._kept, self.kept_bytes = None, 0

    def settle(self) -> str:
        """A frame is always there."""
        return ""

    def crops(self) -> Crops:
        """One for each frame."""
        assert self._kept is not None, "pixels were forgotten"
        return ((crop, 1) for crop in self._kept)

    def again(self, index: int, tracked: TrackedFrame) -> Crops:
        """One for each frame."""
        yield self._crop(tracked), 1

    def _crop(self, tracked: TrackedFrame) -> UInt8[np.ndarray, "S S 3"]:
        return whole_frame(tracked.frame.pixels, self._side, self._resampling)


@dataclass(frozen=True)
class _Sighting:
    """A face on one frame: the square around it, and the pixels of a larger square with the same centre."""

    index: int
    face: int
    left: float
    top: float
    extent: float
    patch: UInt8[np.ndarray, "P P 3"] | None


@dataclass(frozen=True)
class _Shown:
    """The sighting that a frame is cut from: where on its path the crop lies, and for how many frames it stands."""

    sighting: _Sighting
    x: float
    y: float
    extent: float
    stands_for: int


class MainFace:
    """The face that fills most frames most, on a smoothed path and in one size, so that a nod moves the face and not
    the square around it. Other faces only continue it where it is never seen beside them; frames without a face
    repeat the nearest crop."""

    def __init__(self, side: int, resampling: Resampling, rate_hz: float | int) -> None:
        self._side, self._resampling, self._rate_hz = side, resampling, rate_hz
        self._faces: dict[int, list[_Sighting]] = defaultdict(list)
        self._shown: dict[int, _Shown] = {}
        self._keeps = True
        self.n_frames = self.kept_bytes = 0
        self.face_share = 0.0

    def see(self, tracked: TrackedFrame) -> None:
        """Keep where its largest faces are, and their surroundings."""
        for sighting in self._largest(tracked):
            if self._keeps:
                sighting = replace(sighting, patch=self._patch(sighting, tracked))
                assert sighting.patch is not None
                self.kept_bytes += sighting.patch.nbytes
            self._faces[sighting.face].append(sighting)
        self.n_frames += 1

    def forget(self) -> None:
        """Keep where faces are, and no pixels."""
        self._keeps, self.kept_bytes = False, 0
        for face, sightings in self._faces.items():
            self._faces[face] = [replace(sighting, patch=None) for sighting in sightings]

    def settle(self) -> str:
        """Choose the main face and smooth its path."""
        path: dict[int, _Shown] = {}
        # By area summed over time: who is large for long is the one that the clip is about.
        for sightings in sorted(self._faces.values(), key=lambda sightings: -sum(one.extent**2 for one in sightings)):
            # Never seen beside the main face, so it may be the same one, lost and found again.
            if not any(one.index in path for one in sightings):
                path |= self._steady(sightings)
        self._faces.clear()
        if not path:
            return "no face"
        shown = np.array(sorted(path))
        # Borders half-way between frames with a face; the ends of the clip repeat the first and the last crop.
        nearest = np.searchsorted((shown[:-1] + shown[1:]) / 2, np.arange(self.n_frames))
        counts = np.bincount(nearest, minlength=len(shown)).tolist()
        self._shown = {
            index: replace(path[index], stands_for=count) for index, count in zip(shown.tolist(), counts, strict=True)
        }
        self.face_share = len(shown) / self.n_frames
        return ""

    def crops(self) -> Crops:
        """Crops of the main face."""
        return ((self._crop(shown, shown.sighting), shown.stands_for) for shown in self._shown.values())

    def again(self, index: int, tracked: TrackedFrame) -> Crops:
        """The crop of this frame, where it shows the main face."""
        if index in self._shown:
            shown = self._shown[index]
            yield (
                self._crop(shown, replace(shown.sighting, patch=self._patch(shown.sighting, tracked))),
                shown.stands_for,
            )

    def _largest(self, tracked: TrackedFrame) -> Iterator[_Sighting]:
        largest = sorted(tracked.boxes.items(), key=lambda face: -face[1].width * face[1].height)[:CANDIDATES]
        for face, box in largest:
            yield _Sighting(self.n_frames, face, *square(box), patch=None)

    def _patch(self, sighting: _Sighting, tracked: TrackedFrame) -> UInt8[np.ndarray, "P P 3"]:
        return patch_around(tracked.frame.pixels, sighting.left, sighting.top, sighting.extent, self._side)

    def _steady(self, sightings: list[_Sighting]) -> dict[int, _Shown]:
        """One face by frame: one size, on a smoothed path."""
        centres = np.array([(one.left + one.extent / 2, one.top + one.extent / 2) for one in sightings])
        # Detections jitter by some pixels, which an encoder of motion would read as movement.
        smooth = scipy.ndimage.gaussian_filter1d(centres, STEADY_S * self._rate_hz, axis=0, mode="nearest")
        # The median: one size for the clip, that a single wrong box does not change.
        extent = float(np.median([one.extent for one in sightings]))
        return {
            one.index: _Shown(one, float(x), float(y), extent, 1) for one, (x, y) in zip(sightings, smooth, strict=True)
        }

    def _crop(self, shown: _Shown, sighting: _Sighting) -> UInt8[np.ndarray, "S S 3"]:
        patch = sighting.patch
        assert patch is not None, "pixels were forgotten"
        left, top = (
            place - shown.extent / 2 - (corner + sighting.extent / 2)
            for place, corner in ((shown.x, sighting.left), (shown.y, sighting.top))
        )
        return crop_of(patch, sighting.extent, (left, top), shown.extent, self._side, self._resampling)


def whole_frame(pixels: UInt8[np.ndarray, "H W 3"], side: int, resampling: Resampling) -> UInt8[np.ndarray, "S S 3"]:
    """A frame stretched to a square."""
    return stretched(pixels, 0, 0, pixels.shape[1], pixels.shape[0], side, resampling=resampling)


def patch_around(
    pixels: UInt8[np.ndarray, "H W 3"], left: float, top: float, extent: float, side: int
) -> UInt8[np.ndarray, "P P 3"]:
    """A square with its surroundings, `ROOM` times as wide; `side` is that of the crop to be cut from it."""
    spare, room = extent * (ROOM - 1) / 2, extent * ROOM
    # Scaled to the crop's own resolution: a face that fills a 4K frame would otherwise keep megabytes per frame.
    return stretched(pixels, left - spare, top - spare, room, room, round(side * ROOM))


def crop_of(
    patch: UInt8[np.ndarray, "P P 3"],
    extent: float,
    corner: tuple[float, float],
    width: float,
    side: int,
    resampling: Resampling,
) -> UInt8[np.ndarray, "S S 3"]:
    """A square cut from the surroundings of one `extent` wide; `corner` is where it begins, from the other's centre."""
    scale = patch.shape[0] / (extent * ROOM)
    left, top = (place * scale + patch.shape[0] / 2 for place in corner)
    return stretched(patch, left, top, width * scale, width * scale, side, resampling=resampling)
