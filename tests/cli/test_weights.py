"""`cimeu weights` says what is needed, where it belongs, and whether it is whole."""

import hashlib
from pathlib import Path

import pytest

from cimeu.encoders import weights as module
from cimeu.encoders.presets import PRESETS
from cimeu.encoders.weights import WEIGHTS, Weights


@pytest.fixture
def cimeu(cimeu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`cimeu weights` with an empty weights folder: status, stdout, stderr."""
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path))
    return lambda *words: cimeu("weights", *words)


def test_every_file_is_listed_with_source_licence_size_checksum_and_place(cimeu, tmp_path: Path) -> None:
    status, out, _ = cimeu("list")
    assert status == 0
    for weights in WEIGHTS.values():
        for said in (weights.page, weights.licence, weights.size or "unknown", str(tmp_path / weights.file)):
            assert said in out
    assert out.count("put it at:") == len(WEIGHTS)


def test_verifying_prints_what_was_computed(cimeu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in (("known", b"one"), ("unknown", b"two")):
        (tmp_path / name).write_bytes(content)
        checksum = hashlib.sha256(content).hexdigest()
        stated = checksum if name == "known" else None
        monkeypatch.setitem(module.WEIGHTS, name, Weights(name, "page", "url", "MIT", sha256=stated))
    _, out, _ = cimeu("verify")
    one, two = out.splitlines()
    assert one == f"known {hashlib.sha256(b'one').hexdigest()} as published {tmp_path / 'known'}"
    assert two == f"unknown {hashlib.sha256(b'two').hexdigest()} no published checksum {tmp_path / 'unknown'}"


def test_a_damaged_file_ends_with_status_one(cimeu, tmp_path: Path) -> None:
    (tmp_path / "own.pth").write_bytes(b"damaged")
    status, _, err = cimeu("verify", "videomae-v2-giant", "--file", str(tmp_path / "own.pth"))
    assert status == 1
    assert "is not the published file of `videomae-v2-giant`" in err


def test_a_file_goes_with_one_encoder(cimeu) -> None:
    status, _, err = cimeu("verify", "--file", "own.pth")
    assert (status, err) == (
        1,
        "error: `--file own.pth` goes with one encoder\n\nhint: cimeu weights verify ENCODER --file FILE\n",
    )


def test_without_weights_the_folder_is_named(cimeu, tmp_path: Path) -> None:
    assert f"no known weights in {tmp_path}" in cimeu("verify")[2]


def test_fetching_says_the_licence_first(cimeu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = Weights("own", "page", "http://127.0.0.1:9/own", "CC BY-NC 4.0")
    monkeypatch.setitem(module.WEIGHTS, "own", weights)
    status, out, err = cimeu("fetch", "own")
    assert (status, out) == (1, "")
    assert err.startswith("own: CC BY-NC 4.0, from http://127.0.0.1:9/own\nerror: `http://127.0.0.1:9/own` could not")


def test_every_model_of_the_hub_is_listed_with_the_command_that_fetches_it(cimeu) -> None:
    _, out, _ = cimeu("list")
    for name, preset in PRESETS.items():
        assert f"{name}\n  fetch it:  {preset.fetch_command}\n" in out
        for fact in (preset.page, preset.licence, preset.size, preset.trained_on):
            assert fact in out


def test_fetching_a_model_of_the_hub_names_the_command_of_its_client(cimeu) -> None:
    status, _, err = cimeu("fetch", "wavlm-large")
    assert status == 1
    assert f"hint: `{PRESETS['wavlm-large'].fetch_command}` fetches them (licence: CC BY-SA 3.0" in err


def test_one_wrong_file_stops_no_other(cimeu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, digest in (("bad", "0" * 64), ("good", hashlib.sha256(b"weights").hexdigest())):
        monkeypatch.setitem(module.WEIGHTS, name, Weights(name, "page", "", "MIT", sha256=digest))
        (tmp_path / name).write_bytes(b"weights")
    status, out, err = cimeu("verify", "bad", "good", "none")
    assert status == 3
    assert out.startswith("good ")
    assert "error: bad: " in err
    assert "1 of 3 weights as published, 2 failed" in err
    assert cimeu("verify", "bad", "none")[0] == 1
