"""What identifies an encoder: its description as plain JSON values, and the fingerprint of that description.

A feature store keeps the description beside its vectors, so that vectors of two encoders, or of two settings of one,
are never mixed.
"""

import hashlib
import json
from collections.abc import Callable, Mapping

from cimeu.encoders.base import Encoder
from cimeu.errors import FingerprintMismatch

IMPORTED = "imported"
"""Version, and fingerprint, of vectors that were made elsewhere."""


def describe(encoder: Encoder) -> dict[str, object]:
    """Everything that identifies an encoder, as plain JSON values."""
    window = encoder.window
    return {
        "name": encoder.name,
        "version": encoder.version,
        "width": encoder.width,
        "window": None if window is None else {"length": window.length, "stride": window.stride},
        "source": encoder.source,
        "kind": encoder.kind,
        "optional": list(encoder.optional),
        "preprocessing": dict(encoder.preprocessing),
    }


def fingerprint(encoder: Encoder) -> str:
    """Sixteen hexadecimal digits that change with anything that shapes the vectors."""
    return fingerprint_of(describe(encoder))


def fingerprint_of(description: Mapping[str, object]) -> str:
    """Fingerprint of a description made by `describe`; `imported` for vectors made elsewhere.

    >>> fingerprint_of({"name": "spectral", "version": "1"}) == fingerprint_of({"version": "1", "name": "spectral"})
    True
    """
    if description.get("version") == IMPORTED:
        return IMPORTED
    # Sorted and without spaces: the order in which settings are written must not make another encoder.
    canonical = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def check_same(
    stored: Mapping[str, object], expected: Mapping[str, object], where: str, hint: Callable[[], str]
) -> None:
    """Refuse two descriptions that differ; the hint is made only then.

    Raises:
        FingerprintMismatch: shows both fingerprints and each setting that differs, stored value first.
    """
    # Compared as they are written: a tuple here is a list there.
    if json.dumps(stored, sort_keys=True) == json.dumps(expected, sort_keys=True):
        return
    before, after = _flat(stored), _flat(expected)
    differing = [key for key in sorted(before | after) if before.get(key) != after.get(key)]
    lines = "".join(f"\n  {key}: {before.get(key, 'absent')} -> {after.get(key, 'absent')}" for key in differing)
    raise FingerprintMismatch(
        f"{where} has fingerprint `{fingerprint_of(stored)}`, expected `{fingerprint_of(expected)}`{lines}"
        f"\n\nhint: {hint()}"
    )


def _flat(description: Mapping[str, object]) -> dict[str, object]:
    preprocessing = description.get("preprocessing")
    inner = preprocessing if isinstance(preprocessing, Mapping) else {}
    return {key: value for key, value in description.items() if key != "preprocessing"} | {
        f"preprocessing.{key}": value for key, value in inner.items()
    }
