"""From a decoded frame to RGB pixels as a viewer sees them, and back: upright, square pixels, the right colours.

Sources: display matrix (ISO/IEC 14496-12) and EXIF orientation, which FFmpeg turns into one; BT.601 and BT.709 (ITU-R).
Axes: H rows, W columns, 3 colours (RGB).
"""

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc, Interpolation, VideoReformatter
from jaxtyping import UInt8

HD_WIDTH, HD_HEIGHT = 1280, 576
"""Video without colour tags is BT.709 from this width on, or above this height, else BT.601: as players take it."""
UNSPECIFIED = 2
"""FFmpeg's number for a colour space that the file does not name."""
MOST_STRETCHED = 8
"""Pixels that claim to be more times as wide as high, or as high as wide, are taken to be square."""


def _unlisted_side_data(cls: type[SideDataType], value: object) -> Any:
    member: Any = object.__new__(cls)
    member._name_, member._value_ = f"UNLISTED_{value}", value
    return member


# PyAV raises ValueError for all side data of a frame if FFmpeg knows one type that PyAV's list does not, such as the
# EXIF of camera JPEGs and MJPEG, or the view number of stereo video. Enum's own hook gives such a type a name instead.
SideDataType._missing_ = classmethod(_unlisted_side_data)  # type: ignore[method-assign, assignment]


class FrameConverter:
    """Makes RGB pixels of the decoded frames of one stream, all in the size of the first."""

    def __init__(self, first: av.VideoFrame, max_side: int | None, aspect: Fraction | None) -> None:
        """Size as the first frame asks for, at most `max_side` on the longer side; `aspect` is that of its pixels."""
        self._scaler = VideoReformatter()  # keeps its tables from frame to frame
        self._rotation, self._matrix = first.rotation, _display_matrix(first)
        self.width, self.height = display_size(first, aspect, max_side)

    def __call__(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "H W 3"]:
        """RGB of one frame."""
        # A frame and its side data hold each other, so a frame whose side data was looked at stays in memory until
        # Python's garbage collector comes by: at 8K, 50 MB each. The first frame's matrix serves while none is turned.
        if frame.rotation != self._rotation:
            self._rotation, self._matrix = frame.rotation, _display_matrix(frame)
        a, b, c, d = self._matrix
        is_turned = abs(b) > abs(a)
        width, height = (self.height, self.width) if is_turned else (self.width, self.height)
        is_smaller = width < frame.width or height < frame.height
        pixels = self._scaler.reformat(
            frame,
            width=width,
            height=height,
            format="rgb24",
            interpolation=Interpolation.AREA if is_smaller else None,
            src_colorspace=Colorspace.ITU709 if _is_untagged_hd(frame) else None,
        ).to_ndarray()
        if is_turned:
            pixels, a, d = pixels.transpose(1, 0, 2), c, b
        return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def display_size(frame: av.VideoFrame, aspect: Fraction | None, max_side: int | None = None) -> tuple[int, int]:
    """Width and height as seen: after rotation, with square pixels, at most `max_side` on the longer side."""
    stretch = float(aspect or 1)
    if not 1 / MOST_STRETCHED <= stretch <= MOST_STRETCHED:
        stretch = 1.0
    width, height = frame.width * stretch, float(frame.height)
    a, b, _, _ = _display_matrix(frame)
    if abs(b) > abs(a):
        width, height = height, width
    scale = 1.0 if max_side is None else min(1.0, max_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def resized(pixels: UInt8[np.ndarray, "H W 3"], width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    """A frame stretched to this size by area averages: fast, for detection and hashes, not for features."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    return frame.reformat(width=width, height=height, interpolation=Interpolation.AREA).to_ndarray()


def even_sized(pixels: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """The frame with its last row or column repeated where their number is odd, which 4:2:0 video cannot hold."""
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def encodable(pixels: UInt8[np.ndarray, "H W 3"], scaler: VideoReformatter) -> av.VideoFrame:
    """A frame of even size as an encoder takes it, in the colours that a reader assumes of its size.

    One `scaler` for all frames of a stream keeps its tables and threads; making them anew takes longer than a frame.
    """
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    colours = Colorspace.ITU709 if _is_hd(frame.width, frame.height) else Colorspace.ITU601
    return scaler.reformat(frame, format="yuv420p", dst_colorspace=colours)


def add_video_stream(
    container: av.container.OutputContainer, rate: Fraction | int, width: int, height: int, options: dict[str, str]
) -> av.VideoStream:
    """An H.264 stream (MPEG-4 part 2 where FFmpeg lacks it) for frames of `encodable`."""
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    stream = container.add_stream(codec, rate=rate, options=options)
    assert isinstance(stream, av.VideoStream)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    if _is_hd(width, height):
        stream.codec_context.colorspace = Colorspace.ITU709
        stream.codec_context.color_primaries = ColorPrimaries.BT709
        stream.codec_context.color_trc = ColorTrc.BT709
    return stream


def _is_hd(width: int, height: int) -> bool:
    return width >= HD_WIDTH or height > HD_HEIGHT


def _is_untagged_hd(frame: av.VideoFrame) -> bool:
    return frame.colorspace == UNSPECIFIED and "yuv" in frame.format.name and _is_hd(frame.width, frame.height)


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """Where the axes of a frame point on screen: x' = a x + c y, y' = b x + d y (ISO/IEC 14496-12)."""
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(matrix, dtype=np.int32)[:5].tolist()
    return a, b, c, d
