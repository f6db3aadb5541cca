import numpy as np
import pytest

from cimeu.corpora.audit.fingerprints import components, near_pairs, picture_hash, sound_hash
from cimeu.media.audio import RATE_HZ


def test_pairs_are_those_a_plain_double_loop_finds() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, (600, 2), dtype=np.uint64)
    hashes[100:140] = hashes[300:340] ^ np.uint64(5)
    lengths_s = rng.uniform(0.5, 4, 600).astype(np.float32)
    lengths_s[100:130] = lengths_s[300:330]

    def alike(one: int, other: int) -> bool:
        short, long = sorted((lengths_s[one], lengths_s[other]))
        return bool(np.bitwise_count(hashes[one] ^ hashes[other]).sum() <= 38 and long <= short * 1.1 + 0.25)

    wanted = {(one, other) for other in range(600) for one in range(other) if alike(one, other)}
    assert {tuple(sorted(pair)) for pair in near_pairs(hashes, lengths_s, 0.3)} == wanted
    assert len(wanted) >= 30


def test_sets_are_what_pairs_connect() -> None:
    assert components(7, [(5, 1), (1, 3), (2, 6)]) == [[1, 3, 5], [2, 6]]


def test_loudness_leaves_the_hash_of_a_sound_as_it_is() -> None:
    samples = np.random.default_rng(0).normal(size=RATE_HZ).astype(np.float32) / 10
    one, other = sound_hash(samples), sound_hash(samples / 4)
    assert one is not None
    assert other is not None
    assert np.bitwise_count(one ^ other).sum() <= 10


@pytest.mark.parametrize("samples", [np.zeros(RATE_HZ, np.float32), np.ones(800, np.float32), np.zeros(0, np.float32)])
def test_silence_and_clicks_have_no_hash(samples: np.ndarray) -> None:
    assert sound_hash(samples) is None


def test_too_few_or_even_pictures_have_no_hash() -> None:
    lively = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    assert picture_hash([lively] * 4) is None
    assert picture_hash([np.zeros((64, 64, 3), np.uint8)] * 5) is None
    assert picture_hash([lively] * 5) is not None
