import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cimeu.encoders.base import Encoder
from cimeu.encoders.description import describe, fingerprint
from cimeu.encoders.registry import ENCODERS, build_encoder, encoder_from, settings_of
from cimeu.errors import FingerprintMismatch, RecipeError

EMBEDDED = ("filterbank", "functionals", "functionals-windowed", "handmade", "hog", "prosody", "spectral")


@st.composite
def encoders(draw: st.DrawFn) -> Encoder:
    name = draw(st.sampled_from(EMBEDDED))
    if name == "hog":
        rate_hz, source = draw(st.sampled_from([5.0, 12.5, 25.0])), draw(st.sampled_from(["face", "frame"]))
        return build_encoder(name, rate_hz=rate_hz, source=source)
    return build_encoder(name, trim=draw(st.booleans()), level=draw(st.booleans()))


@given(encoders())
def test_an_encoder_is_rebuilt_from_its_description(encoder: Encoder) -> None:
    description = json.loads(json.dumps(describe(encoder)))

    again = encoder_from(description)

    assert again == encoder
    assert fingerprint(again) == fingerprint(encoder)


@given(encoders(), encoders())
def test_fingerprints_are_equal_only_for_equal_encoders(first: Encoder, second: Encoder) -> None:
    assert (fingerprint(first) == fingerprint(second)) == (first == second)


def test_an_unknown_encoder_is_refused_with_a_guess() -> None:
    with pytest.raises(RecipeError, match=r"unknown encoder `spectrl`\n\nhint: did you mean `spectral`\?"):
        build_encoder("spectrl")


def test_an_unknown_setting_is_refused_with_a_guess() -> None:
    with pytest.raises(RecipeError, match=r"`spectral` has no setting `trimm`\n\nhint: did you mean `trim`\?"):
        build_encoder("spectral", trimm=False)


def test_a_whole_rate_may_be_written_without_a_point() -> None:
    assert fingerprint(build_encoder("hog", rate_hz=25)) == fingerprint(build_encoder("hog", rate_hz=25.0))


def test_a_description_of_another_version_is_refused_with_what_differs() -> None:
    description = describe(build_encoder("spectral")) | {"version": "0"}

    with pytest.raises(FingerprintMismatch, match=r"has fingerprint `\w{16}`, expected `\w{16}`\n  version: 0 -> 1\n"):
        encoder_from(description)


def test_an_unknown_description_is_refused() -> None:
    with pytest.raises(RecipeError, match="unknown encoder `hubert`"):
        encoder_from({"name": "hubert", "version": "1"})


def test_imported_features_cannot_be_made_here() -> None:
    with pytest.raises(RecipeError, match="`videomae-v2-giant` is not part of cimeu: its vectors were imported"):
        encoder_from({"name": "videomae-v2-giant", "version": "imported"})


def test_an_encoder_with_weights_is_rebuilt_from_the_same_file(fixtures: Path) -> None:
    weights = fixtures / "ast_tiny_256.pth"
    description = json.loads(json.dumps(describe(build_encoder("ast", weights=weights, heads=4, trim=True))))

    assert describe(encoder_from(description, weights=weights)) == description


def test_other_weights_than_described_are_refused(fixtures: Path) -> None:
    weights = fixtures / "ast_tiny_256.pth"
    description = describe(build_encoder("ast", weights=weights, heads=4))
    description["preprocessing"] |= {"weights_sha256": "0" * 64}  # type: ignore[operator]

    with pytest.raises(FingerprintMismatch, match=r"preprocessing\.weights_sha256: 0{64} -> [0-9a-f]{64}\n"):
        encoder_from(description, weights=weights)


def test_every_name_is_a_known_encoder_with_named_settings() -> None:
    assert set(EMBEDDED) <= set(ENCODERS)
    assert all(isinstance(build_encoder(name), Encoder) for name in EMBEDDED)
    assert all(dataclasses.is_dataclass(build_encoder(name)) for name in EMBEDDED)


def test_names_of_encoders_cost_no_import_of_a_network() -> None:
    program = (
        "import sys, cimeu.encoders.registry as r; assert r.ENCODERS; print({'torch', 'skimage'} & set(sys.modules))"
    )

    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert output == "set()\n"


def test_the_name_of_a_size_is_not_one_of_its_settings() -> None:
    assert "size" not in settings_of("videomae-v2-giant")
    assert {"weights", "detector", "precision"} <= set(settings_of("videomae-v2-giant"))
