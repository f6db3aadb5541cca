from pathlib import Path

import pytest

from cimeu.encoders import weights as module
from cimeu.encoders.weights import WEIGHTS, Weights, find_weights, sha256_of, verify, weights_key
from cimeu.errors import CheckpointError, WeightsMissing


def test_the_weights_folder_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    wanted = tmp_path / WEIGHTS["videomae-v2-large"].file
    wanted.parent.mkdir()
    wanted.write_bytes(b"x")
    assert find_weights("videomae-v2-large") == wanted


def test_the_home_cache_is_searched_without_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CIMEU_WEIGHTS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    wanted = tmp_path / ".cache" / "cimeu" / "weights" / WEIGHTS["videomae-v2-small"].file
    wanted.parent.mkdir(parents=True)
    wanted.write_bytes(b"x")
    assert find_weights("videomae-v2-small") == wanted


def test_an_explicit_path_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    (tmp_path / WEIGHTS["videomae-v2-small"].file).write_bytes(b"x")
    (tmp_path / "own.pth").write_bytes(b"y")
    assert find_weights("videomae-v2-small", tmp_path / "own.pth") == tmp_path / "own.pth"


def test_missing_weights_say_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissing) as error:
        find_weights("videomae-v2-giant")
    for said in (
        str(tmp_path / "vit_g_hybrid_pt_1200e_k710_ft.pth"),
        "2.03 GB",
        "4c1b3fb76612",
        "CC BY-NC 4.0",
        "https://huggingface.co/OpenGVLab/VideoMAE2",
    ):
        assert said in str(error.value)


def test_an_unknown_checksum_is_said_as_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissing, match=r"size unknown, sha256 unknown"):
        find_weights("videomae-v2-small")


def test_a_missing_explicit_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"no file `.*own\.pth` with weights of `videomae-v2-small`"):
        find_weights("videomae-v2-small", tmp_path / "own.pth")


def test_an_unknown_name_is_refused_with_a_guess() -> None:
    with pytest.raises(WeightsMissing, match=r"`videomae-v3`\n\nhint: did you mean `videomae-v2-"):
        find_weights("videomae-v3")


def test_a_checksum_is_confirmed_refused_or_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file.pth"
    file.write_bytes(b"weights")
    published = Weights(
        "file.pth", "https://example.org", "https://example.org/file.pth", "MIT", sha256=sha256_of(file)
    )
    monkeypatch.setitem(module.WEIGHTS, "own", published)
    assert verify("own", file) is True
    assert verify("videomae-v2-small", file) is None
    file.write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match=rf"sha256 {sha256_of(file)}, published {published.sha256}"):
        verify("own", file)


def test_an_encoder_with_several_networks_has_weights_for_each() -> None:
    assert weights_key("expression", {"network": "face-api"}) == "expression"
    assert weights_key("expression", {"network": "fer"}) == "expression-fer"
    assert weights_key("moonshine", {"layer": 3}) == "moonshine"


def test_stated_checksums_have_64_hex_digits() -> None:
    for weights in WEIGHTS.values():
        assert weights.sha256 is None or (len(weights.sha256) == 64 and int(weights.sha256, 16))
