"""Which of several voices speaks where nobody is seen: lanes of voices, of which the user says how many there are.

The voiceprint of each stretch that is heard (1.6 s around its middle) is averaged with its neighbours' and clustered.
The number of voices is given, not estimated: prints of one person who shouts and whispers lie as far apart as those of
two people, and no threshold on four corpora of acted emotion told both cases apart.

A print of a voice identifies a person: off by default.

Axes: N samples, M stretches that are heard, D width of a print.
"""

from collections.abc import Mapping
from itertools import count

import numpy as np
from jaxtyping import Float, Float32, Int

from cimeu.inference.lanes import BY_STRETCH, Lane
from cimeu.media.audio import RATE_HZ
from cimeu.media.threads import one_thread
from cimeu.timeline.segments import NOBODY, voice_lane

PRINT_S = 1.6
"""What the network was trained on, and less than a window: at a change of speakers fewer stretches hear both."""
ANOTHER_VOICE = "another person speaks"


def around_middle(samples: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, " n"]:
    """The part of a window that its print is taken from."""
    rest = max(0, len(samples) - round(PRINT_S * RATE_HZ))
    return samples[rest // 2 : len(samples) - (rest - rest // 2)]


def voices_apart(lanes: Mapping[str, Lane], voices: int) -> tuple[dict[str, Lane], dict[str, str]]:
    """Lanes in which those of nobody have become lanes of voices, in order of appearance.

    Args:
        lanes: by name; stretches without a print stay what they are, in the lane of every voice.
        voices: how many speak; fewer lanes where fewer stretches are heard.

    Returns:
        The lanes, and of each voice the name of the lane that it came from.
    """
    lanes_of_voices, origins = dict[str, Lane](), dict[str, str]()
    numbers = count(1)
    for name, lane in lanes.items():
        if name not in NOBODY or len(lane.voiceprints) < 2:
            lanes_of_voices[name] = lane
            continue
        stretches = sorted(lane.voiceprints)
        clusters = clustered(np.stack([lane.voiceprints[number] for number in stretches]), voices)
        for cluster in dict.fromkeys(clusters.tolist()):  # in order of appearance
            own = {
                number for number, cluster_of in zip(stretches, clusters.tolist(), strict=True) if cluster_of == cluster
            }
            voice = voice_lane(next(numbers))
            lanes_of_voices[voice], origins[voice] = _of_voice(lane, own, set(stretches) - own), name
    return lanes_of_voices, origins


def clustered(prints: Float32[np.ndarray, "M D"], voices: int) -> Int[np.ndarray, " M"]:
    """The voice of each stretch."""
    from sklearn.cluster import KMeans  # a second to import, for an option that is off by default

    padded = np.pad(prints, ((1, 1), (0, 0)), mode="edge")
    # A turn is longer than a hop: neighbours mostly belong together.
    smooth: Float[np.ndarray, "M D"] = (padded[:-2] + prints + padded[2:]) / 3
    smooth /= np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-9)
    with one_thread():
        return KMeans(min(voices, len(prints)), n_init=10, random_state=0).fit_predict(smooth)


def _of_voice(lane: Lane, own: set[int], others: set[int]) -> Lane:
    voice = Lane(basis={n: ("", ANOTHER_VOICE) if n in others else basis for n, basis in lane.basis.items()})
    for part in BY_STRETCH:
        setattr(voice, part, {number: value for number, value in getattr(lane, part).items() if number in own})
    return voice
