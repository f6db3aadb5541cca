"""A synthetic voice: what a take sounds like.

A pulse train at the pitch of the moment, darkened or brightened, is sent through three formants per syllable (source
and filter, G. Fant, Acoustic Theory of Speech Production, 1960) and then through the culture's channel.

Axes: N samples.
"""

from itertools import pairwise

import numpy as np
import scipy  # its parts are imported when they are used: `scipy.signal` alone takes half a second
from jaxtyping import Float, Float32

from cimeu.corpora.toy.face import loudness
from cimeu.corpora.toy.factors import Culture, Speaker, Take

RATE_HZ = 16_000
VOWELS_HZ = np.array([[730, 1090, 2440], [530, 1840, 2480], [270, 2290, 3010], [570, 840, 2410], [300, 870, 2240]])
"""First three formants of a, e, i, o, u (men; Peterson and Barney, JASA 1952)."""
BANDWIDTHS_HZ = (90.0, 110.0, 170.0)

LEVELS = (5.0, 6.5, 0.0, -4.5)
"""Pitch of each emotion against the speaker's own, in semitones."""
RANGES = (3.0, 7.0, 1.5, 0.5)
"""How far the pitch swings, in semitones."""
BRIGHTNESS = (0.45, 0.08, 0.0, -0.25)
"""Change of the share of the undamped source."""


def speak(take: Take, speaker: Speaker, culture: Culture) -> Float32[np.ndarray, " N"]:
    """The sound of a take, mono at 16 kHz, as long as its picture."""
    draw = take.generator(2)
    n_samples = round(take.duration_s * RATE_HZ)
    time_s = np.arange(n_samples) / RATE_HZ
    share = time_s / take.duration_s
    pitch_hz, depth = _pitch(take, speaker, culture, time_s, draw)
    source, hiss = _source(take, speaker, pitch_hz, share, draw)
    voiced = _articulate(source + hiss, take, speaker, culture, draw)
    loud = np.repeat(loudness(take, time_s[::80]), 80)[:n_samples]
    voiced *= (0.04 + loud) * depth
    voiced *= 0.1 / max(float(np.sqrt(np.mean(voiced**2))), 1e-9)
    voiced *= 10 ** ((3.0 * (take.emotion == 0) - 5.0 * (take.emotion == 3)) * take.intensity / 20)
    return _channel(voiced, culture, draw).astype(np.float32)


def _pitch(
    take: Take, speaker: Speaker, culture: Culture, time_s: Float[np.ndarray, " N"], draw: np.random.Generator
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Pitch in hertz and a factor of the loudness, both with the habit of this take."""
    share = time_s / take.duration_s
    swing = np.sin(2 * np.pi * (1.5 * share + draw.uniform()))
    semitones = (
        take.intensity * LEVELS[take.emotion]
        + (0.5 + take.intensity * RANGES[take.emotion]) * (1 + 0.3 * culture.sign(1)) * swing * 0.6
        - 2.0 * share
        + 1.2 * draw.normal()
    )
    depth = np.ones_like(share)
    if take.gesture == 0:
        semitones = semitones + 8.0 * np.clip((share - 0.55) / 0.35, 0, 1)
    elif take.gesture == 2:
        wave = np.sin(2 * np.pi * 6.5 * time_s)
        semitones, depth = semitones + 1.2 * wave, 1 + 0.7 * wave
    base_hz = {"f": 200.0, "m": 120.0}[speaker.gender] * 2 ** (1.2 * speaker.voice[0] / 12)
    return base_hz * 2 ** (semitones / 12), depth


def _source(
    take: Take,
    speaker: Speaker,
    pitch_hz: Float[np.ndarray, " N"],
    share: Float[np.ndarray, " N"],
    draw: np.random.Generator,
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Pulses of the voice and the breath that goes with them."""
    cycles = np.cumsum(pitch_hz) / RATE_HZ
    strength = np.ones_like(cycles)
    if take.gesture == 1:  # creaky: every second pulse nearly missing, irregular, until the voice has settled
        creak = np.clip((0.5 - share) / 0.08, 0, 1)
        jitter = draw.normal(size=int(cycles[-1]) + 2)[cycles.astype(int)]
        strength = 1 - creak * (0.45 + 0.45 * (-1.0) ** cycles.astype(int)) + 0.15 * creak * jitter
    pulses = strength * (1 - 2 * (cycles % 1))
    dark = scipy.signal.lfilter([0.12], [1, -0.88], pulses)
    bright = 0.32 + take.intensity * BRIGHTNESS[take.emotion] + 0.04 * speaker.voice[1] + 0.05 * draw.normal()
    noise = np.diff(draw.normal(size=len(cycles) + 1))
    breath = (0.3 if take.gesture == 3 else 0.012) * np.exp(0.2 * draw.normal())
    return np.clip(bright, 0.05, 1) * pulses + dark, breath * noise


def _articulate(
    source: Float[np.ndarray, " N"], take: Take, speaker: Speaker, culture: Culture, draw: np.random.Generator
) -> Float[np.ndarray, " N"]:
    """One random vowel per syllable."""
    scale = {"f": 1.15, "m": 1.0}[speaker.gender] * (1 + 0.03 * speaker.voice[2] + 0.05 * culture.sign(2))
    starts = np.round(take.syllables_s * RATE_HZ).astype(int)
    edges = [0, *np.sort(np.clip(starts[1:], 1, len(source) - 1)), len(source)]
    voiced = np.zeros_like(source)
    for start, end in pairwise(edges):
        part = source[start:end]
        vowel_hz = VOWELS_HZ[draw.integers(len(VOWELS_HZ))] * scale * (1 + 0.03 * draw.normal(size=3))
        for formant_hz, bandwidth_hz in zip(vowel_hz, BANDWIDTHS_HZ, strict=True):
            part = _resonate(part, formant_hz, bandwidth_hz)
        voiced[start:end] = part
    return voiced


def _resonate(samples: Float[np.ndarray, " N"], centre_hz: float, bandwidth_hz: float) -> Float[np.ndarray, " N"]:
    radius = np.exp(-np.pi * bandwidth_hz / RATE_HZ)
    poles = [1.0, -2 * radius * np.cos(2 * np.pi * centre_hz / RATE_HZ), radius**2]
    return scipy.signal.lfilter([sum(poles)], poles, samples)


def _channel(samples: Float[np.ndarray, " N"], culture: Culture, draw: np.random.Generator) -> Float[np.ndarray, " N"]:
    """The culture's microphone: a spectral tilt and a noise floor."""
    tilt = 0.25 * culture.sign(2)
    noise = draw.normal(size=len(samples)) * 10 ** ((-58 + 5 * culture.sign(0)) / 20)
    tilted = scipy.signal.lfilter([1 - abs(tilt), (1 - abs(tilt)) * tilt], [1.0], samples)
    return np.clip(tilted + noise, -0.99, 0.99)
