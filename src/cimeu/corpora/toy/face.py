"""A plainly drawn, synthetic face that moves: what a take looks like.

Every part is a polygon in the coordinates of the face (pixels of a 128 px picture, origin between nose and eyes, y
down), moved with the head, drawn at twice the size and averaged down.

Axes: F video frames, C channels of motion, P points of a polygon.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from cimeu.corpora.toy.factors import FRAMES_PER_S, Culture, Speaker, Take

SIDE = 128
CHANNELS = ("inner_brow", "outer_brow", "eyes", "mouth_corner", "mouth_open", "mouth_wide", "roll", "down", "size")
"""Pixels, upwards for brows and mouth corners; eyes: opening; roll in degrees; down: head, pixels; size: per cent."""

DISPLAYS = np.array(
    [
        [-3.9, -0.9, -1.2, -1.8, 0.0, -2.7, 0.0, 1.2, 4.5],
        [0.9, 0.9, -0.9, 3.9, 1.2, 3.6, 0.0, -0.9, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [3.0, -2.1, -1.0, -3.3, 0.0, -0.9, 0.0, 2.4, -1.5],
    ]
)
"""Apex of each emotion on each channel."""

UNREST = np.array([0.7, 0.7, 0.3, 0.7, 0.3, 0.7, 1.6, 0.8, 1.2])
"""Deviation of what a face does for no reason."""

DIALECTS = np.array(
    [
        [0.35, 0.35, 0.0, -0.35, 0.0, -0.35, 0.0, 0.0, 0.0],
        [-0.35, -0.35, 0.0, 0.35, 0.0, 0.35, 0.0, 0.0, 0.0],
        [0.25, -0.25, 0.3, -0.25, 0.3, 0.25, 0.0, 0.3, 0.0],
        [-0.25, 0.25, -0.3, 0.25, -0.3, -0.25, 0.0, -0.3, 0.0],
    ]
)
"""Which channels a culture prefers: relative change of the apex."""


@dataclass(frozen=True)
class Look:
    """Measures of a face in pixels and its colours, red, green and blue in 0..255."""

    half_width: float
    half_height: float
    eye_distance: float
    eye_width: float
    eye_height: float
    brow_height: float
    mouth_width: float
    mouth_height: float
    tilt_deg: float
    skin: tuple[int, ...]
    hair: tuple[int, ...]
    background: tuple[int, ...]
    clothes: tuple[int, ...]


def look(speaker: Speaker, culture: Culture) -> Look:
    """How a person of a culture looks at rest."""
    face, colours = speaker.face, np.clip(speaker.colours, -2, 2)
    first, second, third = (culture.sign(number) for number in range(3))
    background = np.array([150.0, 165.0, 180.0]) + 12 * colours[2] + np.array([25.0, 0.0, -25.0]) * first + 15 * second
    skin = (
        np.array([214.0, 170.0, 140.0]) + 10 * colours[0, 0] + np.array([4.0, 0.0, -4.0]) * colours[0, 1] - 12 * third
    )
    return Look(
        half_width=33.0 + 1.2 * face[0] + 1.5 * first,
        half_height=43.0 + 1.4 * face[1] - 1.5 * second,
        eye_distance=14.5 + 0.6 * face[2] + 0.7 * second,
        eye_width=6.2 + 0.3 * face[3],
        eye_height=3.4 + 0.25 * face[4] - 0.25 * third,
        brow_height=-17.5 - 0.8 * face[5] - 0.8 * first,
        mouth_width=11.5 + 0.8 * face[6] + 0.8 * third,
        mouth_height=21.5 + 0.7 * face[7],
        tilt_deg=1.5 * second,
        skin=_colour(skin),
        hair=_colour(np.array([62.0, 44.0, 34.0]) + 12 * colours[1]),
        background=_colour(background),
        clothes=_colour(np.array([70.0, 90.0, 120.0]) + 30 * colours[3]),
    )


def motion(take: Take, culture: Culture) -> Float[np.ndarray, "F C"]:
    """Every channel over time: the emotion rises to its apex and fades, with gesture, speech and unrest."""
    draw = take.generator(1)
    n_frames = round(take.duration_s * FRAMES_PER_S)
    time_s = (np.arange(n_frames) + 0.5) / FRAMES_PER_S
    relative = (time_s - take.apex_s) / take.duration_s
    # Onset is faster than offset, as in real expressions: this is what a clip played backward shows in the other order.
    envelope = np.where(relative < 0, np.exp(-((relative / 0.28) ** 2)), np.exp(-((relative / 0.42) ** 2)))
    apex = take.intensity * DISPLAYS[take.emotion] * (1 + culture.strength * DIALECTS[culture.index])
    rest = draw.normal(size=len(CHANNELS)) * UNREST
    # A random walk: neighbouring frames differ little, as in a living face.
    drift = np.cumsum(draw.normal(size=(n_frames, len(CHANNELS))), axis=0) / np.sqrt(n_frames) * UNREST * 0.6
    channels = envelope[:, None] * apex + rest + drift + _gesture(take, time_s, draw)
    channels[:, CHANNELS.index("mouth_open")] += 2.2 * loudness(take, time_s)
    return channels


def loudness(take: Take, time_s: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """How far the syllables open the mouth at given times, 0 to 1."""
    phase = (time_s[:, None] - take.syllables_s) / take.syllable_s
    humps = np.where((phase > 0) & (phase < 1), np.sin(np.pi * np.clip(phase, 0, 1)) ** 2, 0.0)
    return humps.max(axis=1, initial=0.0)


def _gesture(take: Take, time_s: Float[np.ndarray, " F"], draw: np.random.Generator) -> Float[np.ndarray, "F C"]:
    channels = np.zeros((len(time_s), len(CHANNELS)))
    share = time_s / take.duration_s + 0.06 * draw.normal()
    size = float(np.exp(0.15 * draw.normal()))
    during = np.clip(np.minimum(share - 0.2, 0.85 - share) / 0.12, 0, 1)
    if take.gesture == 0:
        channels[:, CHANNELS.index("down")] = 5.0 * size * during * np.sin(2 * np.pi * 2.2 * time_s)
    elif take.gesture == 1:
        channels[:, CHANNELS.index("roll")] = 13.0 * size * during
    elif take.gesture == 2:
        flashes = np.clip(np.sin(2 * np.pi * 2.5 * share), 0, 1)
        channels[:, CHANNELS.index("inner_brow")] = channels[:, CHANNELS.index("outer_brow")] = 5.0 * size * flashes
    else:
        channels[:, CHANNELS.index("eyes")] = -3.2 * during
    return channels


def draw_frames(face: Look, moves: Float[np.ndarray, "F C"]) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Draw each frame, 128 x 128."""
    for values in moves:
        yield draw_frame(face, dict(zip(CHANNELS, values.tolist(), strict=True)))


def draw_frame(face: Look, move: dict[str, float]) -> UInt8[np.ndarray, "H W 3"]:
    """Draw one face with every channel at the given value."""
    # Twice the size: polygons have hard edges, and averaging them down is what smooths motion below a pixel.
    picture = Image.new("RGB", (2 * SIDE, 2 * SIDE), face.background)
    brush = ImageDraw.Draw(picture)
    roll = np.deg2rad(move["roll"] + face.tilt_deg)
    zoom = 2 * (1 + move["size"] / 100)
    turn = zoom * np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    centre = 2 * np.array([SIDE / 2, 66.0 + move["down"]])

    def fill(points: Float[np.ndarray, "P 2"], colour: tuple[int, ...]) -> None:
        brush.polygon((points @ turn + centre).ravel().tolist(), fill=colour)

    shade = _shade(face.skin, 0.82)
    width, height = face.half_width, face.half_height
    brush.ellipse((2 * SIDE * 0.08, 2 * 108, 2 * SIDE * 0.92, 2 * 170), fill=face.clothes)
    # From back to front: neck, hair, face, fringe, eyes, brows, nose, mouth.
    fill(_ellipse(0.0, height * 0.75, width * 0.45, height * 0.5), shade)
    fill(_ellipse(0.0, -8.0, width * 1.12, height * 1.02), face.hair)
    fill(_ellipse(0.0, 2.0, width, height), face.skin)
    fill(_ellipse(0.0, -height * 0.86, width * 0.85, height * 0.30), face.hair)
    opening = float(np.clip(face.eye_height + move["eyes"], 0.35, 6.0))
    for side in (-1.0, 1.0):
        x = side * face.eye_distance
        fill(_ellipse(x, -6.0, face.eye_width + 1.0, opening + 1.2), shade)
        fill(_ellipse(x, -6.0, face.eye_width, opening), (245, 245, 245))
        fill(_ellipse(x, -6.0, 2.9, min(2.9, opening)), (40, 30, 26))
        inner, outer = face.brow_height - move["inner_brow"], face.brow_height - move["outer_brow"]
        fill(
            _band([(x - side * 7.5, inner), (x, (inner + outer) / 2 - 1.5), (x + side * 8.0, outer + 0.8)], 1.6),
            face.hair,
        )
    fill(np.array([[-2.0, -4.0], [2.0, -4.0], [4.8, 11.0], [0.0, 13.0], [-4.8, 11.0]]), shade)
    fill(_ellipse(-2.6, 11.2, 1.3, 0.9), _shade(face.skin, 0.5))
    fill(_ellipse(2.6, 11.2, 1.3, 0.9), _shade(face.skin, 0.5))
    _mouth(fill, face, move)
    return np.asarray(picture.reduce(2))


def _mouth(
    fill: Callable[[Float[np.ndarray, "P 2"], tuple[int, ...]], None], face: Look, move: dict[str, float]
) -> None:
    half = max(4.0, face.mouth_width + move["mouth_wide"])
    across = np.linspace(-1, 1, 13)
    # A parabola: its ends rise as its middle sinks, so that a smile does not move the whole mouth.
    line = face.mouth_height - move["mouth_corner"] * (across**2 - 0.4)
    gap = np.clip(move["mouth_open"], 0.0, 8.0) * (1 - across**2)
    lip = 2.0 * np.sqrt(1 - 0.9 * across**2)

    def between(upper: np.ndarray, lower: np.ndarray) -> Float[np.ndarray, "P 2"]:
        x = across * half
        return np.stack([np.concatenate([x, x[::-1]]), np.concatenate([upper, lower[::-1]])], axis=1)

    fill(between(line - gap / 2 - lip, line + gap / 2 + lip), (168, 78, 76))
    fill(between(line - gap / 2 - 0.3, line + gap / 2 + 0.3), (64, 22, 26))


_CIRCLE = np.stack([f(np.linspace(0, 2 * np.pi, 28, endpoint=False)) for f in (np.cos, np.sin)], axis=1)


def _ellipse(x: float, y: float, half_width: float, half_height: float) -> Float[np.ndarray, "P 2"]:
    return np.array([x, y]) + _CIRCLE * np.array([half_width, half_height])


def _band(points: list[tuple[float, float]], half_thickness: float) -> Float[np.ndarray, "P 2"]:
    line = np.array(points)
    offset = np.array([0.0, half_thickness])
    return np.concatenate([line - offset, (line + offset)[::-1]])


def _shade(colour: tuple[int, ...], factor: float) -> tuple[int, ...]:
    return tuple(round(part * factor) for part in colour)


def _colour(parts: Float[np.ndarray, " 3"]) -> tuple[int, ...]:
    return tuple(int(part) for part in np.clip(parts, 10, 245))
