from pathlib import Path

import pandas as pd
import pytest

from cimeu.corpora.adapters.cremad import COUNTS, LEFT_OUT_BY_HICMAE, from_cremad
from cimeu.corpora.folds import FoldsConfig, make_folds
from cimeu.errors import ManifestError

PEOPLE = "ActorID,Age,Sex,Race,Ethnicity\n" + "".join(
    f"{actor},{20 + actor % 50},{'Male' if actor % 2 else 'Female'},Asian,Not Hispanic\n" for actor in range(1001, 1092)
)
PER_FOLD = (1463, 1470, 1476, 1476, 1557)


def corpus(root: Path) -> Path:
    (root / "VideoDemographics.csv").write_text(PEOPLE, encoding="utf-8")
    return root


def whole() -> list[str]:
    """7,442 names with the published number of clips of each fold and emotion."""
    ordered = [emotion for emotion in ("ANG", "DIS", "FEA", "HAP", "SAD") for _ in range(1271)] + ["NEU"] * 1087
    emotions = iter([ordered[3001 * index % 7442] for index in range(7442)])
    names = []
    for fold, count in enumerate(PER_FOLD):
        actors = range(1001 + 18 * fold, 1092 if fold == 4 else 1019 + 18 * fold)
        for index in range(count):
            actor, take = actors[index % len(actors)], index // len(actors)
            sentence = "".join(chr(65 + take // 26**power % 26) for power in (2, 1, 0))
            names.append(f"{actor}_{sentence}_{next(emotions)}_XX")
    return names


def test_a_whole_cremad_has_the_published_counts(fill, tmp_path: Path) -> None:
    manifest = from_cremad(fill(corpus(tmp_path), [f"AudioWAV/{name}.wav" for name in whole()]))
    assert len(manifest) == 7442


def test_a_clip_has_its_video_and_its_sound_file(fill, tmp_path: Path) -> None:
    fill(corpus(tmp_path), ["VideoFlash/1001_DFA_ANG_XX.flv", "AudioWAV/1001_DFA_ANG_XX.wav"])
    (clip,) = from_cremad(tmp_path, check_counts=False).clips()
    assert clip.path == tmp_path / "VideoFlash/1001_DFA_ANG_XX.flv"
    assert clip.audio_path == tmp_path / "AudioWAV/1001_DFA_ANG_XX.wav"


def test_actors_have_gender_age_and_race(fill, tmp_path: Path) -> None:
    fill(corpus(tmp_path), ["VideoFlash/1001_IEO_HAP_HI.flv", "VideoFlash/1091_ITS_NEU_XX.flv"])
    table = from_cremad(tmp_path, check_counts=False).table
    columns = ["emotion", "speaker", "gender", "age", "race", "fold", "sentence", "level"]
    assert table[columns].to_numpy().tolist() == [
        ["happiness", "cremad_1001", "m", "21", "Asian", "1", "IEO", "high"],
        ["neutral", "cremad_1091", "m", "61", "Asian", "5", "ITS", ""],
    ]


def test_published_folds_share_no_actor(fill, tmp_path: Path) -> None:
    manifest = from_cremad(fill(corpus(tmp_path), [f"AudioWAV/{name}.wav" for name in whole()]))
    speakers = manifest.table.set_index("clip_id")["speaker"]
    folds = make_folds(manifest, FoldsConfig(protocol="official"))
    assert [len(set(speakers[list(fold.test)])) for fold in folds] == [18, 18, 18, 18, 19]


def test_the_name_with_a_single_x_is_a_clip(fill, tmp_path: Path) -> None:
    fill(corpus(tmp_path), ["AudioWAV/1040_ITH_SAD_X.wav"])
    assert list(from_cremad(tmp_path, check_counts=False).table["emotion"]) == ["sadness"]


def test_clips_that_hicmae_leaves_out_stay_and_are_marked(fill, tmp_path: Path) -> None:
    fill(corpus(tmp_path), ["AudioWAV/1076_MTI_SAD_XX.wav", "AudioWAV/1076_MTI_ANG_XX.wav"])
    table = from_cremad(tmp_path, check_counts=False).table.set_index("clip_id")
    assert dict(table["left_out_by"]) == {"AudioWAV/1076_MTI_ANG_XX": "", "AudioWAV/1076_MTI_SAD_XX": "HiCMAE"}


def test_without_the_clips_that_hicmae_leaves_out_its_counts_are_found(fill, tmp_path: Path) -> None:
    fill(corpus(tmp_path), [f"AudioWAV/{name}.wav" for name in LEFT_OUT_BY_HICMAE])
    table = from_cremad(tmp_path, check_counts=False).table
    left_out = table["fold"][table["left_out_by"] == "HiCMAE"].value_counts()
    assert {fold: COUNTS[f"fold {fold}"] - count for fold, count in left_out.items()} == {"4": 1474, "5": 1555}


def test_a_part_says_how_each_fold_differs(fill, tmp_path: Path) -> None:
    fill(corpus(tmp_path), ["AudioWAV/1001_IEO_HAP_HI.wav"])
    with pytest.raises(ManifestError, match=r"clips: 7,442 expected, 1 found.*fold 1: 1,463 expected, 1 found"):
        from_cremad(tmp_path)


def test_no_table_of_actors_shows_the_layout(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"expected `VideoDemographics.csv`, `VideoFlash` and `AudioWAV`"):
        from_cremad(tmp_path)


def test_another_table_of_actors_names_the_column(fill, tmp_path: Path) -> None:
    pd.DataFrame({"ActorID": ["1001"]}).to_csv(tmp_path / "VideoDemographics.csv", index=False)
    with pytest.raises(ManifestError, match=r"has no column `Age`"):
        from_cremad(tmp_path)
