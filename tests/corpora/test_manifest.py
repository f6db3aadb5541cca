import os
from pathlib import Path
from time import process_time
from unicodedata import normalize

import pandas as pd
import pytest

from cimeu.corpora.adapters.csv import from_csv
from cimeu.corpora.adapters.folder import from_folder, read_recordings
from cimeu.corpora.adapters.registry import CORPORA
from cimeu.corpora.labelling import relabelled
from cimeu.corpora.manifest import (
    COLUMNS,
    Manifest,
    build_manifest,
    check_labels,
    join_manifests,
    read_manifest,
    write_manifest,
)
from cimeu.errors import DuplicateClip, EmptyClass, ManifestError, UnknownLabel
from cimeu.labels import SPACES


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")


def written(root: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path = root / "manifest.csv"
    path.write_text(text, encoding=encoding)
    return path


@pytest.fixture
def small(tmp_path: Path) -> Manifest:
    touch(tmp_path, "a/1.mp4", "b/1.mp4", "b/1.wav")
    return read_manifest(
        written(
            tmp_path,
            "path,emotion,speaker,audio_path,start_s,end_s,take\n"
            "a/1.mp4,Angry,s1,,,,01\nb/1.mp4,joy,s2,b/1.wav,0,1.5,02\nb/1.mp4,sad,,,1.5,,03\nc/1.mp4,neutral,NA,,,,\n",
        )
    )


def test_path_and_emotion_are_enough(tmp_path: Path) -> None:
    manifest = read_manifest(written(tmp_path, "path,emotion\na.mp4,anger\n"))
    assert tuple(manifest.table.columns) == COLUMNS


def test_a_clip_is_named_after_its_whole_path(small: Manifest) -> None:
    assert list(small.table["clip_id"]) == ["a/1", "b/1@0-1.5", "b/1@1.5-", "c/1"]


def test_emotions_get_their_canonical_names(small: Manifest) -> None:
    assert list(small.table["emotion"]) == ["anger", "happiness", "sadness", "neutral"]


def test_extra_columns_and_their_leading_zeros_are_kept(small: Manifest) -> None:
    assert list(small.table["take"]) == ["01", "02", "03", ""]


def test_a_speaker_called_na_is_not_unknown(small: Manifest) -> None:
    assert list(small.table["speaker"]) == ["s1", "s2", "", "NA"]


def test_a_missing_file_keeps_its_row_with_the_reason(small: Manifest) -> None:
    assert [clip.problem for clip in small.clips()] == ["", "", "", "missing file"]


def test_a_file_that_came_back_is_no_problem(small: Manifest) -> None:
    touch(small.root, "c/1.mp4")
    assert set(build_manifest(small.table, small.root).table["problem"]) == {""}


def test_clips_have_absolute_paths_and_open_ends(small: Manifest) -> None:
    first, second, *_ = small.clips()
    assert first.path == small.root / "a/1.mp4"
    assert (first.start_s, first.end_s, first.audio_path) == (0.0, None, None)
    assert (second.start_s, second.end_s, second.audio_path) == (0.0, 1.5, small.root / "b/1.wav")


def test_a_written_manifest_reads_the_same(small: Manifest, tmp_path: Path) -> None:
    write_manifest(small, tmp_path / "again.csv")
    again = read_manifest(tmp_path / "again.csv")
    pd.testing.assert_frame_equal(again.table, small.table)
    assert again.root == small.root


def test_a_manifest_written_elsewhere_finds_the_same_clips(small: Manifest, tmp_path: Path) -> None:
    write_manifest(small, tmp_path / "deep" / "er" / "m.csv")
    assert read_manifest(tmp_path / "deep" / "er" / "m.csv").clips() == small.clips()


def test_clips_have_the_same_names_from_wherever_the_manifest_is_read(
    small: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "a")
    again = read_manifest("../manifest.csv")
    assert list(again.table["clip_id"]) == list(small.table["clip_id"])
    write_manifest(again, "../again.csv")
    assert list(read_manifest(tmp_path / "again.csv").table["path"]) == list(small.table["path"])


def test_a_folder_moves_together_with_its_manifest(small: Manifest, tmp_path: Path) -> None:
    write_manifest(small, tmp_path / "m.csv")
    assert pd.read_csv(tmp_path / "m.csv")["path"][0] == "a/1.mp4"


def test_selection_keeps_the_order_asked_for(small: Manifest) -> None:
    assert list(small.select(["c/1", "a/1"]).table["clip_id"]) == ["c/1", "a/1"]


def test_selecting_an_absent_clip_names_it(small: Manifest) -> None:
    with pytest.raises(ManifestError, match="clip `z/9` is not in the manifest"):
        small.select(["a/1", "z/9"])


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_of_any_program_are_read(tmp_path: Path, separator: str) -> None:
    path = written(tmp_path, f"path{separator}emotion\na.mp4{separator}anger\n", encoding="utf-8-sig")
    assert read_manifest(path).table["clip_id"][0] == "a"


def test_times_may_have_decimal_commas(tmp_path: Path) -> None:
    table = read_manifest(written(tmp_path, "path;emotion;start_s;end_s;;\na.mp4;anger;0,5;1,5;;\n;;;;;\n")).table
    assert table[["clip_id", "start_s", "end_s"]].to_numpy().tolist() == [["a@0.5-1.5", 0.5, 1.5]]


def test_paths_of_windows_lead_to_the_files(tmp_path: Path) -> None:
    touch(tmp_path, "anger/a.wav", "odd\\name.wav")
    manifest = read_manifest(written(tmp_path, "path,emotion\nanger\\a.wav,anger\nodd\\name.wav,sad\n"))
    assert [clip.problem for clip in manifest.clips()] == ["", ""]
    assert list(manifest.table["path"]) == ["anger/a.wav", "odd\\name.wav"]


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("listed", ["NFC", "NFD"])
def test_names_with_accents_lead_to_their_files_in_either_form(tmp_path: Path, stored: str, listed: str) -> None:
    touch(tmp_path, normalize(stored, "Zoë/Müller.wav"))
    path = written(tmp_path, "path,emotion\n" + normalize(listed, "Zoë/Müller.wav") + ",anger\n")
    (clip,) = read_manifest(path).clips()
    assert clip.path.is_file()
    assert clip.clip_id == normalize("NFC", "Zoë/Müller")


@pytest.mark.parametrize("cell", ["ANGER/A b.WAV", "anger\\a B.wav", " anger/a b.wav ", "anger/a b.wav\u00a0"])
def test_capital_letters_and_outer_blanks_do_not_hide_a_file(tmp_path: Path, cell: str) -> None:
    (tmp_path / "anger").mkdir()
    (tmp_path / "anger" / "a b.wav").touch()
    (tmp_path / "m.csv").write_text(f'path,emotion\n"{cell}",anger\n', encoding="utf-8")
    assert read_manifest(tmp_path / "m.csv").table.loc[0, ["path", "problem"]].tolist() == ["anger/a b.wav", ""]


def test_a_name_that_two_files_may_mean_is_missing(tmp_path: Path) -> None:
    for name in ("A.wav", "a.wav"):
        (tmp_path / name).touch()
    (tmp_path / "m.csv").write_text("path,emotion\nA.WAV,anger\na.wav,anger\n")
    assert read_manifest(tmp_path / "m.csv").table["problem"].tolist() == ["missing file", ""]


def test_a_name_that_no_file_can_have_is_a_problem_of_its_row(tmp_path: Path) -> None:
    touch(tmp_path, "b.mp4")
    os.mkfifo(tmp_path / "pipe.wav")
    rows = f"{'x' * 300}.mp4,anger\nb.mp4,anger\npipe.wav,sad\n"
    problems = [clip.problem for clip in read_manifest(written(tmp_path, "path,emotion\n" + rows)).clips()]
    assert problems == ["a name that is too long", "", "neither a file nor a folder of images"]


def test_a_folder_is_a_clip_only_if_it_holds_images_and_nothing_that_would_be_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "sounds/a.wav", "both/1.jpg", "both/a.mp4", "own/1.jpg", "own/a.wav", "own/Thumbs.db", ".x")
    (tmp_path / "empty").mkdir()
    rows = "sounds,\nboth,\nown,own/a.wav\nempty,\nown/1.jpg,own\n"
    problems = read_manifest(written(tmp_path, "path,audio_path\n" + rows), labelled=False).table["problem"].tolist()
    mixed = "a folder of both images and recordings: name one file, or move the recordings out"
    nothing = "neither a file nor a folder of images"
    assert problems == [nothing, mixed, "", nothing, "sound that is no file"]


@pytest.mark.parametrize("path", [".", "/", "..", "./"])
def test_a_path_without_a_name_is_a_problem_of_its_row(tmp_path: Path, path: str) -> None:
    touch(tmp_path, "a.wav")
    table = read_manifest(written(tmp_path, f"path,emotion\n{path},anger\na.wav,anger\n")).table
    assert table["problem"].tolist() == ["neither a file nor a folder of images", ""]
    assert table["clip_id"].all()


def test_what_people_type_comes_back_equal(tmp_path: Path) -> None:
    names = ["=1+1.wav", "# Anna.wav", "'t.wav", "-1,5.wav", '"q".wav', "+.wav", " b.wav"]
    touch(tmp_path, *names)
    table = pd.DataFrame({"path": names, "emotion": "anger", "speaker": ["@x", "=y", "-5", "#", "'=z", "a\nb", ""]})
    manifest = build_manifest(table, tmp_path)
    write_manifest(manifest, tmp_path / "typed.csv")
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "typed.csv").table, manifest.table)
    assert not any(line.startswith(("=", "@")) for line in (tmp_path / "typed.csv").read_text().splitlines())


def test_other_columns_may_be_taken_for_those_of_a_manifest(tmp_path: Path) -> None:
    path = written(tmp_path, "file,label,path\na.mp4,joy,x\n")
    with pytest.raises(ManifestError, match=r"column `path` of .* is there twice"):
        from_csv(path, columns={"path": "file"})
    found = from_csv(path, columns={"path": "file", "emotion": "label", "old_path": "path"})
    assert found.table[["path", "emotion", "old_path"]].to_numpy().tolist() == [["a.mp4", "happiness", "x"]]
    with pytest.raises(ManifestError, match="has no column `flie`\n\nhint: did you mean `file`"):
        from_csv(path, columns={"path": "flie"})


def test_clips_without_a_label_are_accepted_where_none_is_needed(tmp_path: Path) -> None:
    path = written(tmp_path, "path,emotion\na.mp4,\nb.mp4,joy\n")
    assert list(read_manifest(path, labelled=False).table["emotion"]) == ["", "happiness"]


def test_a_hundred_thousand_columns_cost_in_proportion(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(100_000)]
    path = written(tmp_path, ",".join(["path", "emotion", *names]) + "\n" + ",".join(["a.wav", "joy", *names]) + "\n")
    started = process_time()
    assert read_manifest(path).table.shape == (1, len(COLUMNS) + 100_000)
    assert process_time() - started < 10


def test_paths_can_be_relative_to_another_root(tmp_path: Path) -> None:
    touch(tmp_path / "media", "a.mp4")
    assert (
        read_manifest(written(tmp_path, "path,emotion\na.mp4,anger\n"), root=tmp_path / "media").clips()[0].problem
        == ""
    )


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("file,emotion\na,anger\n", ManifestError, "without a column `path`, found: file, emotion"),
        ("path\na\n", ManifestError, "without a column `emotion`, found: path"),
        ("path,emotion\n", ManifestError, "without a single clip"),
        ("", ManifestError, "manifest.csv` is empty"),
        ("path,emotion\na.mp4,\n", UnknownLabel, "clip `a.mp4` in line 2 has no emotion"),
        ("path,emotion\na.mp4,anger\n ,anger\n", ManifestError, "line 3 of the manifest has no path"),
        ("path,emotion\na.mp4,anger\nx/../a.mp4,anger\n", DuplicateClip, "clip `a` is listed twice"),
        ("path,emotion\na.mp4,anger\na.wav,anger\n", DuplicateClip, "clip `a` is listed twice"),
        (
            "path,emotion\na.mp3,anger\na.wav,anger\n",
            DuplicateClip,
            r"clip `a` .*, as `a\.mp3` and `a\.wav`\n\nhint: .* the suffix alone a column clip_id",
        ),
        ("path,emotion,end_s\na.mp4,anger,soon\n", ManifestError, "`end_s` in line 2 of .* is `soon`"),
        ("path,emotion,end_s\na.mp4,anger,inf\n", ManifestError, "`end_s` in line 2 of .* is `inf`"),
        ("path,emotion,start_s,end_s\na.mp4,anger,2,1\n", ManifestError, "clip `a.mp4` runs from 2.0 s to 1.0 s"),
        ("path,emotion\na.mp4,anger,x,y\nb,c\n", ManifestError, "line 2 of .* has 4 cells, the first line 2"),
        ("path,emotion,path\na.mp4,anger,b.mp4\n", ManifestError, "column `path` of .* is there twice"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    tmp_path: Path, text: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_manifest(written(tmp_path, text))


def test_an_absent_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no manifest at `.*nowhere\.csv`"):
        read_manifest(tmp_path / "nowhere.csv")


def test_an_encoding_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="is not a table in UTF-8"):
        read_manifest(written(tmp_path, "path,emotion\né.mp4,anger\n", encoding="latin-1"))


def test_an_emotion_outside_the_label_space_is_answered_with_a_guess(tmp_path: Path) -> None:
    manifest = read_manifest(written(tmp_path, "path,emotion\na.mp4,hapiness\n"))
    with pytest.raises(UnknownLabel, match=r"`hapiness` of clip `a` .*\n\nhint: did you mean `happiness`"):
        check_labels(manifest, SPACES["four"])


def test_an_emotion_whose_only_clip_is_unusable_is_an_empty_class(small: Manifest) -> None:
    with pytest.raises(EmptyClass, match="no usable clip of `neutral` among 4 clips"):
        check_labels(small, SPACES["four"])


def test_a_csv_without_a_corpus_is_named_after_its_folder(tmp_path: Path) -> None:
    path = written(tmp_path, "path,emotion,corpus\na.mp4,anger,\nb.mp4,anger,other\n")
    assert list(from_csv(path, corpus="mine").table["corpus"]) == ["mine", "other"]
    assert from_csv(path).table["corpus"][0] == tmp_path.name


def test_a_folder_per_emotion_is_a_corpus(tmp_path: Path) -> None:
    touch(
        tmp_path, "Angry/1.mp4", "Angry/deep/1.MOV", "own/1.flac", "Angry/notes.txt", "Angry/.hidden.mp4", "readme.md"
    )
    table = from_folder(tmp_path).table
    assert list(zip(table["clip_id"], table["emotion"], table["culture"], strict=True)) == [
        ("Angry/1", "anger", ""),
        ("Angry/deep/1", "anger", ""),
        ("own/1", "own", ""),
    ]
    assert set(table["corpus"]) == {tmp_path.name}


def test_files_of_one_name_are_clips_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, "anger/01.wav", "anger/01.mp3", "anger/v.mp4", "anger/v.mov", "anger/v.wav", "sad/01.wav")
    table = from_folder(tmp_path).table
    assert list(table["clip_id"]) == ["anger/01.mp3", "anger/01.wav", "anger/v.mov", "anger/v.mp4", "sad/01"]
    assert list(table["audio_path"]) == ["", "", "anger/v.wav", "anger/v.wav", ""]


def test_what_is_left_out_of_a_folder_is_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "sad/1.mp4", "sad/1.wav", "sad/1.mp3", "sad/notes.txt", "sad/.DS_Store", "stray.wav")
    assert len(from_folder(tmp_path).table) == 1
    assert [record.getMessage().replace(str(tmp_path), "ROOT") for record in caplog.records] == [
        "left out: 1 files (.mp3 1), `ROOT/sad/1.wav` is the sound of that video already: `ROOT/sad/1.mp3`",
        "left out: 1 files (.txt 1), no recordings by their suffix: `ROOT/sad/notes.txt`",
        "left out: 1 files (.wav 1), in no folder of an emotion: `ROOT/stray.wav`",
    ]


def test_recordings_of_cameras_and_phones_are_found(tmp_path: Path) -> None:
    touch(tmp_path, "sad/a.MTS", "sad/b.3gp", "sad/c.aiff", "sad/d.m2ts", "sad/e.amr")
    assert len(from_folder(tmp_path).table) == 5


def test_a_name_that_is_not_utf8_is_a_row_with_its_reason(tmp_path: Path) -> None:
    touch(tmp_path, "anger/ok.wav")
    (tmp_path / "anger" / os.fsdecode(b"M\xfcller.wav")).write_bytes(b"x")
    write_manifest(from_folder(tmp_path), tmp_path / "m.csv")
    table = read_manifest(tmp_path / "m.csv").table
    assert dict(zip(table["path"], table["problem"], strict=True)) == {
        "anger/ok.wav": "",
        "anger/M\\xfcller.wav": "a name that is not UTF-8: rename the file",
    }


def test_a_folder_named_in_another_language_holds_its_emotion(tmp_path: Path) -> None:
    touch(tmp_path, "Wut/session 1/1.mp4")
    assert list(from_folder(tmp_path).table["culture"]) == ["Wut"]
    found = relabelled(from_folder(tmp_path, label_map={"Wut": "anger"}), {"Wut": "anger"}).table
    assert found[["emotion", "culture"]].to_numpy().tolist() == [["anger", ""]]


def test_a_label_to_be_mapped_that_no_clip_has_is_an_error(small: Manifest) -> None:
    with pytest.raises(UnknownLabel, match="no clip has the label `wut`, to become `anger`\n\nhint: known: "):
        relabelled(small, {"Wut": "anger"})


def test_a_flat_folder_needs_no_labels(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "deep/b.mp4")
    table = read_recordings(tmp_path).table
    assert table[["clip_id", "emotion", "corpus"]].to_numpy().tolist() == [
        ["a", "", tmp_path.name],
        ["deep/b", "", tmp_path.name],
    ]
    flat = tmp_path / "flat"
    touch(flat, "a.wav")
    with pytest.raises(ManifestError, match=r"hint: `cimeu extract .*flat`, `audit` and `predict` need no labels"):
        from_folder(flat)


def test_the_upper_of_two_levels_is_the_culture(tmp_path: Path) -> None:
    touch(tmp_path, "north/happy/1.mp4", "south/happy/1.mp4")
    table = from_folder(tmp_path, corpus="mine").table
    assert list(table["culture"]) == ["north", "south"]
    assert list(table["clip_id"]) == ["north/happy/1", "south/happy/1"]


def test_sound_beside_a_video_is_its_sound(tmp_path: Path) -> None:
    touch(tmp_path, "sad/1.mp4", "sad/1.wav", "sad/2.wav")
    assert list(from_folder(tmp_path).table["audio_path"]) == ["sad/1.wav", ""]


def test_a_corpus_is_named_after_its_folder_from_within_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "interviews", "anger/1.mp4", "sadness/2.mp4")
    monkeypatch.chdir(tmp_path / "interviews" / "anger")
    table = from_folder(Path("..")).table
    assert set(table["corpus"]) == {"interviews"}
    assert list(table["clip_id"]) == ["anger/1", "sadness/2"]


def test_a_folder_without_media_says_what_was_expected(tmp_path: Path) -> None:
    touch(tmp_path, "anger/1.txt")
    with pytest.raises(ManifestError, match=r"no video or sound file in .*\n\nhint: expected `<emotion>/<clip>.mp4`"):
        from_folder(tmp_path)


def test_an_absent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no folder at `.*nowhere`"):
        from_folder(tmp_path / "nowhere")


def test_folder_and_table_are_registered() -> None:
    assert {"folder", "csv"} <= set(CORPORA)


def test_the_trial_manifest_reads_as_it_is(trial_data: Path) -> None:
    manifest = read_manifest(trial_data / "speech" / "manifest.csv")
    assert len(manifest) == 1508
    assert set(manifest.table["problem"]) == {""}
    check_labels(manifest, SPACES["four"])


# Several manifests


def two(tmp_path: Path) -> list[Manifest]:
    for name in ("dfew", "mafw"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.wav").write_bytes(b"one")
        (tmp_path / name / "m.csv").write_text(f"path,emotion,corpus,extra\n1.wav,anger,{name},{name}\n")
    return [read_manifest(str(tmp_path / name / "m.csv")) for name in ("dfew", "mafw")]


def test_clips_of_several_manifests_keep_their_files_and_get_names_of_their_own(tmp_path: Path) -> None:
    joined = join_manifests(two(tmp_path))
    assert list(joined.table["clip_id"]) == ["dfew/1", "mafw/1"]
    assert [clip.path for clip in joined.clips()] == [tmp_path / "dfew" / "1.wav", tmp_path / "mafw" / "1.wav"]
    assert list(joined.table["extra"]) == ["dfew", "mafw"]
    assert set(joined.table["problem"]) == {""}


def test_the_same_manifest_twice_lists_clips_twice(tmp_path: Path) -> None:
    one, _ = two(tmp_path)
    with pytest.raises(DuplicateClip, match="clip `dfew/1` is listed twice"):
        join_manifests([one, one])


def test_one_manifest_is_itself(tmp_path: Path) -> None:
    one, _ = two(tmp_path)
    assert join_manifests([one]) is one


def test_a_row_may_lack_an_emotion_where_it_says_why(tmp_path: Path) -> None:
    path = written(tmp_path, "path,emotion,unlabelled\na.mp4,anger,\nb.mp4,,hidden\n")
    assert list(read_manifest(path).table["emotion"]) == ["anger", ""]
    written(tmp_path, "path,emotion,unlabelled\na.mp4,anger,\nb.mp4,,\n")
    with pytest.raises(UnknownLabel, match=r"`b.mp4` in line 3 has no emotion\n\nhint: .* in a column `unlabelled`"):
        read_manifest(path)
