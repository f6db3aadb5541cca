"""`cimeu prepare` for published corpora, and `cimeu audit`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cimeu.cli.terminal import pairs
from cimeu.corpora.adapters.registry import PUBLISHED
from cimeu.corpora.manifest import read_manifest
from cimeu.encoders.registry import build_encoder
from cimeu.errors import RecipeError
from cimeu.features.extract import extract
from cimeu.media.audio import RATE_HZ, read_sound, write_sound

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def emodb(tmp_path: Path) -> Path:
    root = tmp_path / "emodb"
    root.mkdir()
    for seed, name in enumerate(("03a01Wa", "08a01Fa", "09a01Na")):
        samples = np.random.default_rng(seed).normal(size=RATE_HZ).astype(np.float32) / 10
        write_sound(root / f"{name}.wav", samples)
    return root


def test_a_partial_copy_is_refused_unless_allowed(cimeu: Command, emodb: Path, tmp_path: Path) -> None:
    status, _, err = cimeu("prepare", "emodb", emodb, "-o", tmp_path / "m.csv")
    assert status == 1
    assert "clips: 535 expected, 3 found" in err
    status, _, err = cimeu("prepare", "emodb", emodb, "-o", tmp_path / "m.csv", "--allow-partial")
    assert status == 0
    assert "m.csv: 3 clips" in err


@pytest.mark.parametrize("corpus", sorted(PUBLISHED))
def test_every_corpus_says_what_it_looks_for(cimeu: Command, tmp_path: Path, corpus: str) -> None:
    status, _, err = cimeu("prepare", corpus, tmp_path)
    assert status == 1
    assert "\n\nhint: " in err


def test_a_task_reaches_mafw(cimeu: Command, tmp_path: Path) -> None:
    _, _, err = cimeu("prepare", "mafw", tmp_path, "--task", "compound")
    assert "Train & Test Set/compound" in err


def test_lists_get_their_labels_from_the_command_line(cimeu: Command, emodb: Path, tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("03a01Wa.wav 0\n08a01Fa.wav 1\n")
    words = ("--list", f"test={tmp_path / 'test.txt'}", "--label-map", "0=anger", "--label-map", "1=happy")
    status, _, _ = cimeu("prepare", "lists", emodb, *words, "--speaker", r"(\d\d)a", "-o", tmp_path / "m.csv")
    table = pd.read_csv(tmp_path / "m.csv", dtype=str)
    assert status == 0
    assert table[["emotion", "speaker", "split"]].to_numpy().tolist() == [
        ["anger", "03", "test"],
        ["happiness", "08", "test"],
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("emodb", "--task", "compound"), "--task does not apply to `emodb`\n\nhint: it is for mafw"),
        (("mafw", "--takes", "4"), "--takes does not apply to `mafw`\n\nhint: it is for toy"),
        (("dfew", "--list", "test=a.csv"), "--list does not apply to `dfew`\n\nhint: it is for lists"),
        (("dfew", "--csv", "a.csv"), "--csv does not apply to `dfew`\n\nhint: it is for folder, csv"),
        (("toy", "--name", "own"), "--name does not apply to `toy`\n\nhint: it is for folder, csv, lists"),
        (("csv",), "no table is named for `csv`\n\nhint: add --csv FILE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_options_of_another_corpus_are_refused(
    cimeu: Command, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    status, _, err = cimeu("prepare", words[0], tmp_path, *words[1:])
    assert (status, message in err) == (1, True), err


def test_labels_of_another_language_stop_prepare_with_an_offer(cimeu: Command, emodb: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file;label\n03a01Wa.wav;Wut\n08a01Fa.wav;Freude\n09a01Na.wav;Wut\n", encoding="utf-8-sig")
    words = ("prepare", "csv", emodb, "--csv", table, "--column", "path=file", "--column", "emotion=label")
    out = ("-o", tmp_path / "m.csv")
    status, _, err = cimeu(*words, *out)
    assert status == 1
    assert "no label space has `freude` (1), `wut` (2)" in err
    assert "hint: --label-map freude=happiness (German); --label-map wut=anger (German)" in err
    assert not (tmp_path / "m.csv").exists()
    status, _, err = cimeu(*words, *out, "--label-map", "Wut=anger", "--label-map", "Freude=happiness")
    assert (status, "labels: anger 2, happiness 1" in err) == (0, True), err
    status, _, err = cimeu(*words, "-o", tmp_path / "own.csv", "--allow-unknown-labels")
    assert (status, "labels: wut 2, freude 1" in err) == (0, True), err


def test_an_audit_takes_a_folder_of_recordings(cimeu: Command, emodb: Path, tmp_path: Path) -> None:
    status, _, err = cimeu("audit", emodb, "-o", tmp_path / "a.html")
    assert (status, "a.html: 3 clips" in err) == (0, True), err
    assert "emotion" not in err


def test_pairs_need_an_equals_sign() -> None:
    with pytest.raises(RecipeError, match="`happy` is not name=value"):
        pairs(["0=anger", "happy"])


def test_an_audit_without_errors_ends_with_0(cimeu: Command, emodb: Path, tmp_path: Path) -> None:
    cimeu("prepare", "emodb", emodb, "-o", tmp_path / "m.csv", "--allow-partial")
    status, out, err = cimeu("audit", tmp_path / "m.csv", "-o", tmp_path / "a.html", "--json")
    assert status == 0
    assert json.loads(out)["n_clips"] == 3
    assert "a.html: 3 clips" in err
    assert (tmp_path / "a.html").is_file()


def test_two_manifests_are_compared_and_nothing_is_decoded_twice(cimeu: Command, emodb: Path, tmp_path: Path) -> None:
    cimeu("prepare", "emodb", emodb, "-o", tmp_path / "m.csv", "--allow-partial")
    table = pd.read_csv(tmp_path / "m.csv", dtype=str, keep_default_na=False).assign(corpus="other", speaker="")
    table.to_csv(tmp_path / "other.csv", index=False)
    words = ("-o", tmp_path / "a.html", "--mark", tmp_path / "marked.csv")
    _, _, err = cimeu("audit", tmp_path / "m.csv", tmp_path / "other.csv", *words)
    assert "warning: 6 clips are in `emodb` and in `other`" in err
    marked = pd.read_csv(tmp_path / "marked.csv", dtype=str)
    assert marked["clip_id"].is_unique
    assert marked["duplicates"].value_counts().tolist() == [2, 2, 2]
    _, _, err = cimeu("audit", tmp_path / "m.csv", "-o", tmp_path / "a.html")
    assert "3 clips, 3 of them from the cache" in err


@pytest.mark.parametrize(("least", "status"), [("error", 0), ("warning", 2), ("never", 0)])
def test_what_fails_an_audit_can_be_chosen(
    cimeu: Command, emodb: Path, tmp_path: Path, least: str, status: int
) -> None:
    cimeu("prepare", "emodb", emodb, "-o", tmp_path / "m.csv", "--allow-partial")
    found, _, err = cimeu("audit", tmp_path / "m.csv", "-o", tmp_path / "a.html", "--fail-on", least)
    assert found == status, err


def test_prepare_says_what_was_checked(cimeu: Command, emodb: Path, tmp_path: Path) -> None:
    _, _, err = cimeu("prepare", "emodb", emodb, "-o", tmp_path / "m.csv", "--allow-partial")
    assert "counts were not compared with the published ones" in err


def test_a_list_gets_the_name_of_its_corpus(cimeu: Command, emodb: Path, tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("03a01Wa.wav angry\n08a01Fa.wav happy\n")
    words = ("--list", f"2={tmp_path / 'test.txt'}", "--name", "dfew")
    _, _, err = cimeu("prepare", "lists", emodb, *words, "-o", tmp_path / "m.csv")
    assert set(pd.read_csv(tmp_path / "m.csv", dtype=str)["corpus"]) == {"dfew"}
    assert "published `fold`: 2 2" in err


def test_an_audit_with_an_error_ends_with_2(cimeu: Command, emodb: Path, tmp_path: Path) -> None:
    cimeu("prepare", "emodb", emodb, "-o", tmp_path / "m.csv", "--allow-partial")
    words = ("--labels", "anger,fear", "--mark", tmp_path / "marked.csv")
    status, out, err = cimeu("audit", tmp_path / "m.csv", "-o", tmp_path / "a.html", *words)
    assert (status, out) == (2, "")
    assert "error: no clip becomes `fear` in the label space `own`" in err
    assert "duplicates" in pd.read_csv(tmp_path / "marked.csv").columns


def test_overlap_names_shared_recordings_and_ends_with_2(cimeu: Command, emodb: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    write_sound(tmp_path / "own" / "x.wav", np.random.default_rng(1).normal(size=RATE_HZ).astype(np.float32) / 10)
    (tmp_path / "own" / "y.wav").write_bytes((emodb / "03a01Wa.wav").read_bytes())
    status, _, err = cimeu("overlap", emodb, tmp_path / "own", "-o", tmp_path / "overlap.csv")
    table = pd.read_csv(tmp_path / "overlap.csv", dtype=str)
    assert status == 2
    assert f"2 of 3 clips of `{emodb}` are in `{tmp_path / 'own'}`, as 2 of 2 clips of it" in err
    assert table[["one", "other", "by"]].to_numpy().tolist() == [["03a01Wa", "y", "sound"], ["08a01Fa", "x", "sound"]]


@pytest.fixture
def stored(emodb: Path, tmp_path: Path) -> Path:
    """Features of two corpora whose recordings are gone: `y` is `03a01Wa` without its first fifth of a second."""
    samples = read_sound(emodb / "03a01Wa.wav")
    write_sound(emodb / "y.wav", samples[RATE_HZ // 5 :] / 2)
    write_sound(emodb / "x.wav", np.random.default_rng(9).normal(size=RATE_HZ).astype(np.float32) / 10)
    for name, clips in (("one", ("03a01Wa", "08a01Fa", "09a01Na")), ("other", ("x", "y", "never"))):
        (tmp_path / f"{name}.csv").write_text("path\n" + "".join(f"emodb/{clip}.wav\n" for clip in clips))
        manifest = read_manifest(tmp_path / f"{name}.csv", labelled=False)
        extract(manifest, [build_encoder("spectral")], tmp_path / "features", directions=("forward",))
    emodb.rename(tmp_path / "gone")
    return tmp_path


def test_overlap_by_features_needs_no_recording(cimeu: Command, stored: Path) -> None:
    output = stored / "overlap.csv"
    features = ("--features", stored / "features")
    status, _, err = cimeu("overlap", stored / "one.csv", stored / "other.csv", *features, "-o", output)
    table = pd.read_csv(output, dtype=str, keep_default_na=False)
    assert table.to_numpy().tolist() == [["emodb/03a01Wa", "emodb/y", "sound", ""]]
    assert status == 2
    assert "1 of 6 clips have no features and were not compared\n5 of 6 clips compared by spectral" in err
    status, _, err = cimeu("overlap", stored / "one.csv", stored / "one.csv", *features, "-o", output)
    assert status == 1, "one store cannot tell two clips of one name apart"
    assert "0 of 6 clips compared by spectral, 6 failed" in err
    status, *_ = cimeu("overlap", stored / "one.csv", stored / "one.csv", *features, *features, "-o", output)
    assert status == 1, "named twice, it is still one store"
    shutil.copytree(stored / "features", stored / "own")
    own = ("--features", stored / "own")
    status, *_ = cimeu("overlap", stored / "one.csv", stored / "one.csv", *features, *own, "-o", output)
    assert (status, len(pd.read_csv(output))) == (2, 3)
    status, _, err = cimeu("overlap", stored / "one.csv", stored / "one.csv", *features * 3, "-o", output)
    assert status == 1
    assert "--features names 3 folders\n\nhint: one for both, or one for each manifest" in err


@pytest.mark.parametrize(("good", "status"), [(True, 3), (False, 1)])
def test_overlap_does_not_call_apart_what_it_could_not_read(
    cimeu: Command, tmp_path: Path, good: bool, status: int
) -> None:
    for side in ("one", "other"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "broken.mp4").write_text("no video")
    if good:
        write_sound(tmp_path / "one" / "x.wav", np.ones(RATE_HZ, np.float32) / 10)
    ended, _, err = cimeu("overlap", tmp_path / "one", tmp_path / "other", "-o", tmp_path / "overlap.csv")
    assert ended == status
    assert f"{int(good)} of {2 + good} clips compared, 2 failed" in err


def test_preparing_a_corpus_that_another_holds_warns_with_the_count(cimeu: Command, tmp_path: Path) -> None:
    (tmp_path / "CaFE").mkdir()
    write_sound(tmp_path / "CaFE" / "01-C-1-1.wav", np.ones(RATE_HZ, np.float32) / 10)
    status, _, err = cimeu("prepare", "cafe", tmp_path / "CaFE", "--allow-partial", "-o", tmp_path / "m.csv")
    assert status == 0
    assert "warning: `cameo` holds 936 clips of `cafe`" in err


def test_one_recording_under_two_names_is_named(cimeu: Command, emodb: Path, tmp_path: Path) -> None:
    (emodb / "copy.wav").write_bytes((emodb / "03a01Wa.wav").read_bytes())
    rows = "03a01Wa.wav,anger,train\n08a01Fa.wav,joy,train\ncopy.wav,anger,test\n"
    (tmp_path / "l.csv").write_text("path,emotion,split\n" + rows)
    status, _, err = cimeu("prepare", "csv", emodb, "--csv", tmp_path / "l.csv", "-o", tmp_path / "m.csv")
    assert status == 0
    assert "2 clips hold the recording of another one, such as `03a01Wa` and `copy`; folds go by their column" in err
    assert "warning: 1 of these are in several parts of the published `split`, such as `03a01Wa`" in err
