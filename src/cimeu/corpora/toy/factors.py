"""The known causes behind a synthetic clip: speaker, culture, emotion, and how the emotion is expressed.

Nothing here describes real people: the four cultures are invented. Each accompanies its emotions by gestures of its
own. The gestures form a Latin square (each once per culture, each once per emotion), so that over all cultures a
gesture says nothing about the emotion, while inside one culture it nearly gives it away; whoever relies on
"this culture, this gesture" is misled in a culture never seen: a shortcut. The other differences (looks, timing,
dialect, microphone) are the same for all emotions and say nothing about them.

`culture_strength` scales every difference between cultures together, and nothing else: the same seed draws the same
speakers, takes and noise at every strength. `habit` scales the shortcut alone; at 0 the other differences are left.

Axes: F video frames, C channels of motion.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

EMOTIONS = ("anger", "happiness", "neutral", "sadness")
CULTURES = ("north", "south", "east", "west")
AFFECT = ((-0.7, 0.8), (0.8, 0.6), (0.0, -0.2), (-0.6, -0.6))
"""Valence and arousal of each emotion at intensity 1, from -1 to 1: where the circumplex puts the words."""
GESTURES = ("nod", "tilt", "flash", "closing")
"""On the face, and with each a habit of the voice: rising end, creaky start, tremolo, breath."""

LATIN_SQUARE = ((0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0))
"""Gesture of each culture (row) and emotion (column)."""

SIGNS = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))
"""Three properties of each culture, balanced over the four and independent of each other."""

FRAMES_PER_S = 25


@dataclass(frozen=True)
class Culture:
    """What sets a culture apart, already scaled by its strength; `index` 0 to 3."""

    index: int
    strength: float
    habit: float = 1.0
    """Share of the strength with which the culture has gestures of its own."""

    def sign(self, number: int) -> float:
        """Property 0, 1 or 2 of this culture: plus or minus the strength."""
        return SIGNS[self.index][number] * self.strength


@dataclass(frozen=True)
class Speaker:
    """One invented person: numbers drawn once, standard normal unless said otherwise."""

    gender: str
    face: Float[np.ndarray, " 8"]
    colours: Float[np.ndarray, "4 3"]
    voice: Float[np.ndarray, " 5"]
    expressiveness: float


@dataclass(frozen=True)
class Take:
    """One clip: its emotion, the gesture that goes with it, how strongly and when it is expressed."""

    emotion: int
    gesture: int
    intensity: float
    duration_s: float
    apex_s: float
    syllables_s: Float[np.ndarray, " N"]
    syllable_s: float
    seed: tuple[int, ...]

    @property
    def affect(self) -> tuple[float, float]:
        """Valence and arousal: those of the emotion, the further from 0 the stronger it is expressed; -1 to 1."""
        valence, arousal = (min(1.0, max(-1.0, self.intensity * value)) for value in AFFECT[self.emotion])
        return valence, arousal

    def generator(self, purpose: int) -> np.random.Generator:
        """Random numbers of this take for one purpose, the same at every culture strength."""
        return np.random.default_rng((*self.seed, purpose))


HABIT_RATE = 0.6
"""How often a culture of full strength shows its own gesture; else, and at strength 0, any of the four."""
SYLLABLES_PER_S = (5.2, 4.9, 4.4, 3.7)
"""Speed of speech of each emotion."""
APEX_SHARES = (0.40, 0.5, 0.5, 0.6)
"""When each emotion is at its height, as a share of the clip."""


def draw_speaker(culture: int, number: int, seed: int) -> Speaker:
    """The person with this number, the same at every culture strength; women and men alternate."""
    draw = np.random.default_rng((seed, 1, culture, number))
    return Speaker(
        gender="fm"[number % 2],
        face=draw.normal(size=8),
        colours=draw.normal(size=(4, 3)),
        voice=draw.normal(size=5),
        expressiveness=float(np.exp(0.15 * draw.normal())),
    )


def draw_take(culture: Culture, speaker: Speaker, number: int, emotion: int, take: int, seed: int) -> Take:
    """The take of a speaker; its gesture is the culture's habit, or any, the more so the weaker the culture."""
    origin = (seed, 2, culture.index, number, emotion, take)
    draw = np.random.default_rng(origin)
    habitual, any_gesture = draw.random() < HABIT_RATE * culture.strength * culture.habit, int(draw.integers(4))
    duration_s = float(draw.uniform(1.4, 2.2))
    intensity = float(draw.uniform(0.55, 1.05)) * speaker.expressiveness
    rate = SYLLABLES_PER_S[emotion] * float(np.exp(0.1 * draw.normal() + 0.08 * culture.sign(0)))
    starts = np.arange(0.12, duration_s - 0.25, 1 / rate)
    return Take(
        emotion=emotion,
        gesture=LATIN_SQUARE[culture.index][emotion] if habitual else any_gesture,
        intensity=intensity,
        duration_s=round(duration_s * FRAMES_PER_S) / FRAMES_PER_S,
        apex_s=duration_s * (APEX_SHARES[emotion] + 0.06 * culture.sign(1) + 0.06 * float(draw.normal())),
        syllables_s=starts + 0.02 * draw.normal(size=len(starts)),
        syllable_s=0.8 / rate,
        seed=origin,
    )
