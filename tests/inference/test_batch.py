import json
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest

from cimeu.atomic import adopt_file
from cimeu.cluster import LOST, Machines
from cimeu.csv_files import read_csv
from cimeu.errors import RecipeError
from cimeu.inference.batch import FORMATS, _on_cluster, predict_files, recordings_by_name
from cimeu.inference.recogniser import FaceTools, Recogniser
from cimeu.media.video import probe
from cimeu.progress import Progress, silent
from cimeu.timeline.formats import KIND
from cimeu.timeline.overlay import VideoOptions

from .conftest import Anybody, RunMaker


@pytest.fixture(scope="module")
def recogniser(make_run: RunMaker) -> Recogniser:
    """Pictures and sound."""
    return Recogniser.from_pretrained(make_run())


@pytest.fixture
def folder(recordings: Path, tmp_path: Path) -> Path:
    """Two recordings that can be read, two that cannot, and a text file that is none of our business."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    shutil.copy(recordings / "mute.mp4", tmp_path / "in" / "mute.mp4")
    shutil.copy(recordings / "speech.wav", tmp_path / "in" / "deep" / "speech.wav")
    (tmp_path / "in" / "zero.mp4").write_bytes(b"")
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video" * 100)
    (tmp_path / "in" / "notes.txt").write_text("x")
    return tmp_path / "in"


def test_one_bad_file_stops_no_other(make_run: RunMaker, folder: Path, tmp_path: Path) -> None:
    failures = predict_files([folder], tmp_path / "out", make_run()).failures
    assert [Path(path).name for path in failures["path"]] == ["broken.mp4", "zero.mp4"]
    assert "is empty (0 bytes)" in failures["reason"][1]
    for name in ("mute", "deep/speech"):
        assert all((tmp_path / "out" / f"{name}{suffix}").is_file() for suffix in FORMATS)
    assert (tmp_path / "out" / "failures.csv").read_text().startswith("path,reason\n")


def test_a_second_run_keeps_what_is_finished(recogniser: Recogniser, folder: Path, tmp_path: Path) -> None:
    predict_files([folder], tmp_path / "out", recogniser)
    before = {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "out").rglob("*.*")
        if path.is_file() and path.name != "failures.csv"
    }
    report = predict_files([folder], tmp_path / "out", recogniser)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (report.recordings, len(report.failures)) == (4, 2)


def test_an_interrupted_file_is_made_again_with_the_same_bytes(
    recogniser: Recogniser, folder: Path, tmp_path: Path
) -> None:
    predict_files([folder / "mute.mp4"], tmp_path / "out", recogniser)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("mute.*")}
    (tmp_path / "out" / "mute.json").unlink()
    predict_files([folder / "mute.mp4"], tmp_path / "out", recogniser)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("mute.*")} == before


def test_another_model_or_recording_is_not_taken_for_done(
    recogniser: Recogniser, make_run: RunMaker, folder: Path, recordings: Path, tmp_path: Path
) -> None:
    def model_and_length() -> tuple[str, float]:
        predicted = json.loads((tmp_path / "out" / "mute.json").read_text())
        return predicted["model"], predicted["duration_s"]

    predict_files([folder / "mute.mp4"], tmp_path / "out", recogniser, formats=(".csv",))
    assert model_and_length() == (recogniser.model_id, 1.2)
    other = Recogniser.from_pretrained(make_run("hog", None))
    predict_files([folder / "mute.mp4"], tmp_path / "out", other, formats=(".csv",))
    assert model_and_length() == (other.model_id, 1.2)
    shutil.copy(recordings / "empty.mp4", folder / "mute.mp4")
    predict_files([folder / "mute.mp4"], tmp_path / "out", other, formats=(".csv",))
    assert model_and_length() == (other.model_id, 2.4)


def test_results_of_another_identity_are_made_again(make_run: RunMaker, folder: Path, tmp_path: Path) -> None:
    def faces(**changes: object) -> str:
        model = Recogniser.from_pretrained(make_run(), **changes)  # type: ignore[arg-type]
        predict_files([folder / "mute.mp4"], tmp_path / "out", model, formats=(".csv",))
        return str(json.loads((tmp_path / "out" / "mute.json").read_text())["faces"])

    alone = faces()
    assert faces(faces=FaceTools(identity=Anybody())).endswith("; people are found again by anybody (above 0.5)")
    assert "by appearance (above 0.88): after a cut, the same person may get a new name" in alone
    assert faces() == alone


def test_another_format_is_added_without_recognising_again(
    recogniser: Recogniser, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    predict_files([folder / "mute.mp4"], out, recogniser, formats=(".csv",))
    csv = (out / "mute.csv").stat().st_mtime_ns
    monkeypatch.setattr(Recogniser, "read", lambda *_, **__: pytest.fail("recognised again"))
    predict_files([folder / "mute.mp4"], out, recogniser, formats=(".csv", ".rttm", ".mp4"))
    assert (out / "mute.csv").stat().st_mtime_ns == csv
    assert json.loads((out / "mute.json").read_text())["written"] == [".csv", ".json", ".mp4", ".rttm"]
    assert (out / "mute.rttm").is_file()
    assert probe(out / "mute.mp4").has_video


def test_no_result_of_another_model_is_left_as_if_it_were_current(
    recogniser: Recogniser, make_run: RunMaker, folder: Path, tmp_path: Path
) -> None:
    out, other = tmp_path / "out", Recogniser.from_pretrained(make_run("hog", None))
    predict_files([folder / "mute.mp4"], out, recogniser, formats=(".csv", ".vtt"))
    predict_files([folder / "mute.mp4"], out, other, formats=(".rttm",))
    assert all(other.model_id in (out / f"mute.{suffix}").read_text() for suffix in ("csv", "vtt", "rttm"))


def test_results_beside_their_recording_say_nothing_against_it(
    recogniser: Recogniser, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = Path(shutil.copy(folder / "mute.mp4", tmp_path / "mute.mp4"))
    assert predict_files([copy], tmp_path, recogniser, formats=(".csv",)).failures.empty
    assert "is not of this timeline" not in caplog.text


def test_an_old_result_that_a_person_corrected_stays_and_the_log_names_it(
    recogniser: Recogniser, make_run: RunMaker, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, other = tmp_path / "out", Recogniser.from_pretrained(make_run("hog", None))
    predict_files([folder / "mute.mp4"], out, recogniser, formats=(".csv",))
    (out / "mute.csv").write_text("corrected")
    report = predict_files([folder / "mute.mp4"], out, other, formats=(".rttm",))
    assert (len(report.failures), (out / "mute.csv").read_text()) == (0, "corrected")
    assert "mute.csv` is not of this timeline" in caplog.text
    report = predict_files([folder / "mute.mp4"], out, Recogniser.from_pretrained(make_run()), formats=(".csv",))
    assert "mute.csv` was changed since cimeu wrote it" in report.failures["reason"][0]
    assert (out / "mute.csv").read_text() == "corrected"


def test_annotations_made_by_hand_stay_and_nothing_is_recognised_in_vain(
    recogniser: Recogniser, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "mute.eaf").write_text("three days of work")
    monkeypatch.setattr(Recogniser, "read", lambda *_, **__: pytest.fail("recognised in vain"))
    report = predict_files([folder / "mute.mp4"], folder, recogniser)
    assert "mute.eaf` is not a file that cimeu wrote" in report.failures["reason"][0]
    assert sorted(path.name for path in folder.glob("mute.*")) == ["mute.eaf", "mute.mp4"]
    assert (folder / "mute.eaf").read_text() == "three days of work"


def test_results_inside_the_folder_of_recordings_are_not_recordings(
    recogniser: Recogniser, folder: Path, tmp_path: Path
) -> None:
    for name in ("._mute.mp4", ".Trash/mute.mp4", "$RECYCLE.BIN/mute.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / "mute.mp4", folder / name)
    first = predict_files([folder], folder / "out", recogniser, formats=(".mp4",))
    shutil.move(folder / "out" / "mute.mp4", folder / "moved.mp4")  # away from the list of what was written
    again = predict_files([folder], folder / "out", recogniser, formats=(".mp4",))
    assert (first.recordings, again.recordings) == (4, 4)
    named = predict_files([folder / "moved.mp4"], tmp_path / "out", recogniser, formats=(".csv",))
    assert "moved.mp4` was written by `cimeu predict`" in named.failures["reason"][0]


def test_failures_of_another_call_stay_until_they_are_answered_for(
    recogniser: Recogniser, folder: Path, tmp_path: Path
) -> None:
    def failed() -> list[str]:
        return list(pd.read_csv(tmp_path / "out" / "failures.csv")["path"])

    predict_files([folder / "zero.mp4"], tmp_path / "out", recogniser, formats=(".csv",))
    predict_files([folder / "mute.mp4", tmp_path / "nosuch.mp4"], tmp_path / "out", recogniser, formats=(".csv",))
    assert failed() == [str(folder / "zero.mp4"), str(tmp_path / "nosuch.mp4")]
    (folder / "zero.mp4").unlink()
    predict_files([folder], tmp_path / "out", recogniser, formats=(".csv",))
    assert failed() == [str(tmp_path / "nosuch.mp4"), str(folder / "broken.mp4")]


def test_a_name_that_is_no_text_is_a_failure_of_that_file_alone(
    recogniser: Recogniser, folder: Path, tmp_path: Path
) -> None:
    latin = folder / os.fsdecode(b"caf\xe9.mp4")
    shutil.copy(folder / "mute.mp4", latin)
    report = predict_files([folder / "mute.mp4", latin], tmp_path / "out", recogniser, formats=(".csv",))
    assert list(report.failures["path"]) == [str(folder / "caf\\udce9.mp4")]
    assert "has a name that is not UTF-8" in report.failures["reason"][0]
    assert (tmp_path / "out" / "mute.csv").is_file()


def test_the_longest_legal_name_gets_its_results(recogniser: Recogniser, folder: Path, tmp_path: Path) -> None:
    name = "表" * 82 + "ab"
    shutil.copy(folder / "mute.mp4", folder / f"{name}.mp4")
    report = predict_files([folder / f"{name}.mp4"], tmp_path / "out", recogniser, formats=(".csv",))
    assert len(report.failures) == 0
    assert (tmp_path / "out" / f"{name}.json").is_file()


def test_explanations_are_added_to_a_finished_recording(recogniser: Recogniser, folder: Path, tmp_path: Path) -> None:
    predict_files([folder / "mute.mp4"], tmp_path / "out", recogniser, formats=(".csv",))
    predict_files([folder / "mute.mp4"], tmp_path / "out", recogniser, formats=(".html",), explained=True)
    content = json.loads((tmp_path / "out" / "mute.json").read_text())
    assert content["explanations"][0]["streams"][0]["stream"] == "face (hog)"
    assert content["written"] == [".csv", ".html", ".json"]


def test_the_recordings_own_folder_is_no_danger_to_it(recogniser: Recogniser, folder: Path) -> None:
    before = (folder / "mute.mp4").read_bytes()
    report = predict_files([folder / "mute.mp4"], folder, recogniser, formats=(".mp4",))
    assert "mute.mp4` is not a file that cimeu wrote" in report.failures["reason"][0]
    assert (folder / "mute.mp4").read_bytes() == before


def test_recordings_of_one_name_keep_their_suffix(recogniser: Recogniser, recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(recordings / "mute.mp4", tmp_path / "in" / "a.mp4")
    shutil.copy(recordings / "speech.wav", tmp_path / "in" / "a.wav")
    predict_files([tmp_path / "in"], tmp_path / "out", recogniser, formats=(".csv",))
    assert {path.name for path in (tmp_path / "out").glob("a.*.csv")} == {"a.mp4.csv", "a.wav.csv"}


def test_a_recording_given_in_two_spellings_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/a.wav").write_bytes(b"x")
    given = [Path("in/a.wav"), tmp_path / "in" / "a.wav", Path("in/../in/a.wav"), tmp_path / "in"]
    assert recordings_by_name(given) == {"a": Path("in/a.wav")}


def test_results_of_one_name_are_refused(recogniser: Recogniser, recordings: Path, tmp_path: Path) -> None:
    shutil.copy(recordings / "mute.mp4", tmp_path / "mute.mp4")
    with pytest.raises(RecipeError, match=r"would both be written as `mute\.mp4`"):
        predict_files([recordings / "mute.mp4", tmp_path / "mute.mp4"], tmp_path / "out", recogniser)


def test_an_unknown_format_is_refused(recogniser: Recogniser, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"unknown format `\.doc`\n\nhint: one of \.csv"):
        predict_files([], tmp_path, recogniser, formats=(".doc",))


def test_a_pipe_is_a_failure_and_not_waited_for(recogniser: Recogniser, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    failures = predict_files([tmp_path / "a.mp4"], tmp_path / "out", recogniser, formats=(".csv",)).failures
    assert failures["reason"].tolist() == [f"`{tmp_path / 'a.mp4'}` is a pipe, not a regular file"]


def test_a_file_of_which_nothing_can_be_decoded_is_a_failure(
    recogniser: Recogniser, recordings: Path, tmp_path: Path
) -> None:
    content = bytearray((recordings / "speech.wav").read_bytes())
    content[24:28] = (7_000_000).to_bytes(4, "little")  # the sampling rate of its header
    (tmp_path / "a.wav").write_bytes(content)
    report = predict_files([tmp_path / "a.wav"], tmp_path / "out", recogniser, formats=(".csv",))
    assert report.failures["reason"].tolist() == [f"`{tmp_path / 'a.wav'}` claims a sampling rate of 7000000 Hz"]
    assert not (tmp_path / "out" / "a.csv").exists()


def test_the_segments_of_one_recording_never_take_the_name_of_the_series_of_another(
    recogniser: Recogniser, recordings: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.wav", "a.series.wav"):
        shutil.copy(recordings / "speech.wav", tmp_path / "in" / name)
    report = predict_files([tmp_path / "in"], tmp_path / "out", recogniser, formats=[".csv", ".series.csv"])
    assert report.failures.empty
    names = {path.name for path in (tmp_path / "out").glob("a*.csv")}
    assert names == {"a.csv", "a.series.csv", "a.series.wav.csv", "a.series.wav.series.csv"}


def test_results_of_a_version_without_series_are_made_again(
    recogniser: Recogniser, recordings: Path, tmp_path: Path
) -> None:
    predict_files([recordings / "speech.wav"], tmp_path, recogniser, formats=[".json"])
    values = json.loads((tmp_path / "speech.json").read_text())
    del values["series"]
    (tmp_path / "speech.json").write_text(json.dumps(values))
    adopt_file(tmp_path / "speech.json", KIND)
    predict_files([recordings / "speech.wav"], tmp_path, recogniser, formats=[".series.csv"])
    assert len(pd.read_csv(tmp_path / "speech.series.csv", comment="#")) > 0


def test_shards_share_a_folder_and_its_failures(recogniser: Recogniser, folder: Path, tmp_path: Path) -> None:
    # In order: broken.mp4, mute.mp4, zero.mp4, deep/speech.wav
    reports = [
        predict_files([folder], tmp_path / "out", recogniser, formats=[".csv"], machines=Machines((number, 2)))
        for number in (1, 2)
    ]
    assert [report.recordings for report in reports] == [2, 2]
    assert len(pd.read_csv(tmp_path / "out" / "failures.csv")) == 2
    assert {path.name for path in (tmp_path / "out").rglob("*.csv")} == {"mute.csv", "speech.csv", "failures.csv"}
    with pytest.raises(RecipeError, match=r"no shard 3 of 2\n\nhint: shards are counted from 1"):
        predict_files([folder], tmp_path / "out", recogniser, machines=Machines((3, 2)))


@pytest.mark.long
def test_a_cluster_writes_what_one_machine_writes_though_a_worker_is_killed(
    recogniser: Recogniser, folder: Path, tmp_path: Path, cluster: Callable[[], int]
) -> None:
    killed: list[int] = []

    def kill_one(step: str, completed: int, total: int) -> None:
        if (step, completed) == ("files", 1):
            killed.append(cluster())

    here = predict_files([folder], tmp_path / "here", recogniser)
    there = predict_files([folder], tmp_path / "there", recogniser, kill_one, machines=Machines(ray="auto"))
    assert killed == [2]
    assert (there.recordings, len(there.failures)) == (4, 2)
    pd.testing.assert_frame_equal(there.failures, here.failures)
    written = [
        {
            path.relative_to(out): path.read_bytes()
            for path in out.rglob("*.*")
            if path.is_file() and ".cimeu" not in path.parts
        }
        for out in (tmp_path / "here", tmp_path / "there")
    ]
    assert len(written[0]) > len(FORMATS)
    assert written[0] == written[1]


@pytest.mark.long
def test_a_recording_that_kills_its_workers_is_a_failure_of_each_model(
    tmp_path: Path, cluster: Callable[[], int]
) -> None:
    def deadly(recordings: Mapping[str, Path], progress: Progress) -> dict[Path, dict[Path, str]]:
        if "b" in recordings:
            os.kill(os.getpid(), signal.SIGKILL)
        return {Path("x"): {}, Path("y"): {}}

    recordings = {name: Path(f"{name}.wav") for name in "abc"}
    failures = _on_cluster(recordings, deadly, "auto", [Path("x"), Path("y")], silent)
    assert failures == {Path(name): {Path("b.wav"): LOST} for name in "xy"}


def test_a_style_of_all_recordings_is_not_read_on_a_cluster(
    recogniser: Recogniser, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recogniser, "style", "study")
    with pytest.raises(RecipeError, match=r"read from all recordings\n\nhint: leave out --ray"):
        predict_files([folder], tmp_path / "out", recogniser, machines=Machines(ray="auto"))


def test_pages_play_the_video_with_covered_faces_and_later_calls_keep_it(
    recogniser: Recogniser, recordings: Path, tmp_path: Path
) -> None:
    options = VideoOptions(blur_faces=True, sound=False)
    formats = [".html", ".eaf", ".mp4"]
    shutil.copy(recordings / "mute.mp4", tmp_path / "mute.mp4")
    plain = tmp_path / "out"
    predict_files([tmp_path / "mute.mp4"], plain, recogniser, formats=formats)
    original = (plain / "mute.mp4").read_bytes()
    assert 'src="../mute.mp4"' in (plain / "mute.html").read_text()
    predict_files([tmp_path / "mute.mp4"], plain, recogniser, formats=formats, video=options)
    covered = (plain / "mute.mp4").read_bytes()
    assert covered != original
    assert 'src="./mute.mp4"' in (plain / "mute.html").read_text()
    assert 'MEDIA_URL="./mute.mp4"' in (plain / "mute.eaf").read_text()
    predict_files([tmp_path / "mute.mp4"], plain, recogniser, formats=[".html", ".vtt"])
    assert (plain / "mute.mp4").read_bytes() == covered
    assert 'src="./mute.mp4"' in (plain / "mute.html").read_text()


def test_results_of_a_long_name_have_a_shorter_one_and_stay_apart(
    recogniser: Recogniser, recordings: Path, tmp_path: Path
) -> None:
    names = ["讲" * 82, "讲" * 81 + "é", "n" * 251]
    for name in names:
        shutil.copy(recordings / "speech.wav", tmp_path / f"{name}.wav")
    paths = [tmp_path / f"{name}.wav" for name in names]
    report = predict_files(paths, tmp_path / "out", recogniser, formats=(".series.parquet",))
    assert list(report.failures["reason"]) == []
    seals = [json.loads(path.read_text())["media"] for path in (tmp_path / "out").glob("*.json")]
    assert sorted(seals) == sorted(path.name for path in paths)


def test_failures_come_back_as_they_are_called(recogniser: Recogniser, tmp_path: Path) -> None:
    names = ["'=1+1.wav", "=1+1.wav", "# a, b.wav", "new\nline.wav", "NA.wav"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    for name in (*names, names[0]):  # every further call keeps the rows of the others
        predict_files([tmp_path / name], tmp_path / "out", recogniser)
    rows = read_csv(tmp_path / "out" / "failures.csv").frame["path"]
    assert sorted(rows) == sorted(str(tmp_path / name) for name in names)
