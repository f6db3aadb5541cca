from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from cimeu.corpora.folds import Fold, FoldsConfig, check_fold, dealt_groups, make_folds
from cimeu.corpora.manifest import Manifest, build_manifest, read_manifest
from cimeu.errors import EmptyClass, FoldLeak, ManifestError

EMOTIONS = ("anger", "happiness", "neutral", "sadness")


def corpus(
    *, cultures: int = 3, speakers: int = 5, takes: int = 1, emotions: tuple[str, ...] = EMOTIONS, known: bool = True
) -> Manifest:
    rows = [
        {
            "path": f"c{culture}/s{speaker}/{emotion}_{take}.wav",
            "emotion": emotion,
            "speaker": f"c{culture}s{speaker}" if known else "",
            "culture": f"c{culture}",
            "corpus": "made",
        }
        for culture in range(cultures)
        for speaker in range(speakers)
        for emotion in emotions
        for take in range(takes)
    ]
    return usable(build_manifest(pd.DataFrame(rows), Path("/nowhere")))


def usable(manifest: Manifest) -> Manifest:
    return Manifest(manifest.table.assign(problem=""), manifest.root)


def with_cells(manifest: Manifest, column: str, values: list[str]) -> Manifest:
    return Manifest(manifest.table.assign(**{column: values}), manifest.root)


def values_of(manifest: Manifest, clip_ids: tuple[str, ...], column: str) -> set[str]:
    return set(manifest.select(clip_ids).table[column])


@st.composite
def corpora(draw: st.DrawFn) -> list[dict[str, str]]:
    """Rows of speakers with uneven numbers of clips and emotions, as found in the wild."""
    people = draw(
        st.lists(
            st.tuples(st.integers(0, 1), st.lists(st.integers(0, 5), min_size=2, max_size=2)), min_size=6, max_size=12
        )
    )
    return [
        {"path": f"{number}/{emotion}_{take}.wav", "emotion": emotion, "speaker": str(number), "culture": f"c{culture}"}
        for number, (culture, counts) in enumerate([*people, *((c, [1, 1]) for c in (0, 1) for _ in range(4))])
        for emotion, count in zip(("anger", "sadness"), counts, strict=True)
        for take in range(count)
    ]


@settings(max_examples=20)
@given(corpora(), st.sampled_from(["leave-one-group-out", "within-group", "speaker-independent"]), st.integers(0, 99))
def test_speakers_never_cross_a_fold_and_no_clip_is_lost(rows: list[dict[str, str]], protocol: str, seed: int) -> None:
    manifest = usable(build_manifest(pd.DataFrame(rows).assign(corpus="wild"), Path("/nowhere")))
    config = FoldsConfig(protocol=protocol, n_folds=3, seed=seed)  # type: ignore[arg-type]
    folds = make_folds(manifest, config)
    tested = [clip_id for fold in folds for clip_id in fold.test]
    assert sorted(tested) == sorted(manifest.table["clip_id"])
    for fold in folds:
        parts = [fold.train, fold.validation, fold.test]
        speakers = [values_of(manifest, part, "speaker") for part in parts]
        assert sum(map(len, speakers)) == len(set().union(*speakers))
        pool = manifest.table
        if protocol == "within-group":
            pool = pool[pool["culture"] == fold.name.split("-")[0]]
        assert sorted(clip_id for part in parts for clip_id in part) == sorted(pool["clip_id"])
        assert values_of(manifest, fold.train, "emotion") == set(pool["emotion"])
    assert make_folds(manifest, config) == folds


def test_another_seed_deals_other_speakers() -> None:
    manifest = corpus()
    assert make_folds(manifest, FoldsConfig(seed=1)) != make_folds(manifest, FoldsConfig(seed=2))


def test_a_held_out_group_is_tested_whole_and_alone() -> None:
    manifest = corpus()
    for fold in make_folds(manifest, FoldsConfig(protocol="leave-one-group-out")):
        assert values_of(manifest, fold.test, "culture") == {fold.name}
        assert values_of(manifest, fold.train + fold.validation, "culture") == {"c0", "c1", "c2"} - {fold.name}
        assert len(fold.test) == 20


def test_validation_holds_every_training_group_and_emotion() -> None:
    manifest = corpus()
    for fold in make_folds(manifest, FoldsConfig(protocol="leave-one-group-out")):
        assert values_of(manifest, fold.validation, "culture") == values_of(manifest, fold.train, "culture")
        assert values_of(manifest, fold.validation, "emotion") == set(EMOTIONS)
        assert len(fold.validation) == 8


def test_any_column_can_be_the_group() -> None:
    manifest = with_cells(corpus(cultures=1), "language", ["a"] * 8 + ["b"] * 12)
    folds = make_folds(manifest, FoldsConfig(protocol="leave-one-group-out", group="language"))
    assert [fold.name for fold in folds] == ["a", "b"]


def test_clips_without_a_group_take_no_part_where_groups_are_held_out() -> None:
    manifest = with_cells(corpus(), "culture", [""] * 4 + ["c0"] * 26 + ["c1"] * 30)
    manifest = with_cells(manifest, "speaker", [f"s{row // 2}" for row in range(60)])
    first, _ = make_folds(manifest, FoldsConfig(protocol="leave-one-group-out"))
    assert len(first.train + first.validation + first.test) == 56


def test_one_speaker_name_in_two_corpora_is_two_people() -> None:
    manifest = with_cells(corpus(), "speaker", [str(row % 20 // 4) for row in range(60)])
    manifest = with_cells(manifest, "corpus", list(manifest.table["culture"]))
    assert len(make_folds(manifest, FoldsConfig(protocol="leave-one-group-out"))) == 3


def test_a_speaker_of_two_groups_is_a_leak() -> None:
    manifest = with_cells(corpus(), "speaker", [str(row % 20 // 4) for row in range(60)])
    with pytest.raises(FoldLeak, match=r"speaker `0` is in both (train|validation) and test of fold c0 of `made`"):
        make_folds(manifest, FoldsConfig(protocol="leave-one-group-out"))


def test_speakers_with_one_emotion_each_leave_every_emotion_in_training() -> None:
    whole = corpus(cultures=1, speakers=12)
    mine = [row for row in range(48) if row % 4 == row // 4 % 4]
    manifest = Manifest(whole.table.iloc[mine].reset_index(drop=True), whole.root)
    for fold in make_folds(manifest, FoldsConfig(protocol="within-group")):
        assert values_of(manifest, fold.train, "emotion") == set(EMOTIONS)


def test_unknown_speakers_stand_for_themselves_and_the_fold_says_so() -> None:
    for fold in make_folds(corpus(known=False), FoldsConfig()):
        assert (fold.speakers_known, fold.note) == (False, "speakers unknown")


def test_some_unknown_speakers_are_counted() -> None:
    manifest = corpus()
    manifest = with_cells(manifest, "speaker", ["", "", *manifest.table["speaker"][2:]])
    assert {fold.note for fold in make_folds(manifest, FoldsConfig())} == {"speakers unknown for 2 of 60 clips"}


def test_known_speakers_need_no_note() -> None:
    assert {(fold.speakers_known, fold.note) for fold in make_folds(corpus(), FoldsConfig())} == {(True, "")}


def test_an_unusable_clip_is_tested_but_never_trained_on() -> None:
    manifest = corpus()
    manifest = with_cells(manifest, "problem", ["no face", *[""] * 59])
    unusable = manifest.table["clip_id"][0]
    folds = make_folds(manifest, FoldsConfig())
    assert sum(unusable in fold.test for fold in folds) == 1
    assert not any(unusable in fold.train + fold.validation for fold in folds)


def test_published_folds_are_taken_as_they_are() -> None:
    manifest = with_cells(corpus(), "fold", [str(1 + row % 20 // 4) for row in range(60)])
    folds = make_folds(manifest, FoldsConfig(protocol="official"))
    assert [fold.name for fold in folds] == ["1", "2", "3", "4", "5"]
    assert all(values_of(manifest, fold.test, "fold") == {fold.name} for fold in folds)


def test_ten_published_folds_stay_in_the_order_of_their_numbers() -> None:
    manifest = with_cells(corpus(speakers=10), "fold", [str(1 + row % 40 // 4) for row in range(120)])
    folds = make_folds(manifest, FoldsConfig(protocol="official"))
    assert [fold.name for fold in folds] == [str(number) for number in range(1, 11)]


def test_a_published_split_is_taken_as_it_is() -> None:
    parts = ["train"] * 3 + ["validation", "test"]
    manifest = with_cells(corpus(), "split", [parts[row % 20 // 4] for row in range(60)])
    (fold,) = make_folds(manifest, FoldsConfig(protocol="official"))
    assert fold.name == "official"
    assert values_of(manifest, fold.validation, "split") == {"validation"}


def test_a_split_without_validation_gets_one_from_its_training_speakers() -> None:
    manifest = with_cells(corpus(), "split", ["test" if row % 20 < 4 else "train" for row in range(60)])
    (fold,) = make_folds(manifest, FoldsConfig(protocol="official"))
    assert values_of(manifest, fold.validation, "split") == {"train"}


def test_a_published_fold_that_shares_speakers_is_refused() -> None:
    manifest = with_cells(corpus(), "fold", [str(1 + row % 2) for row in range(60)])
    with pytest.raises(FoldLeak, match=r"of `made`\n\nhint: folds.protocol=speaker-independent .* `speakers shared`"):
        make_folds(manifest, FoldsConfig(protocol="official"))


def test_a_published_fold_that_shares_speakers_is_taken_where_the_recipe_allows_it_and_says_so() -> None:
    manifest = with_cells(corpus(takes=2), "fold", [str(1 + row % 2) for row in range(120)])
    for fold in make_folds(manifest, FoldsConfig(protocol="official", allow_shared_speakers=True)):
        assert not fold.speakers_known
        assert fold.note == "speakers shared: 15 of 15 test speakers are trained on"


def test_folds_that_are_made_here_never_share_speakers() -> None:
    with pytest.raises(ManifestError, match="`allow_shared_speakers` with the protocol `within-group`"):
        FoldsConfig(protocol="within-group", allow_shared_speakers=True)


def test_allowing_shared_speakers_changes_nothing_where_none_is_shared() -> None:
    manifest = with_cells(corpus(), "fold", [str(1 + row % 20 // 4) for row in range(60)])
    folds = [make_folds(manifest, FoldsConfig(protocol="official", allow_shared_speakers=yes)) for yes in (False, True)]
    assert folds[0] == folds[1]


def test_near_duplicates_across_published_folds_are_counted_and_stay() -> None:
    manifest = with_cells(corpus(known=False), "fold", [str(1 + row % 20 // 4) for row in range(60)])
    marked = with_cells(manifest, "duplicates", ["one"] * 6 + [""] * 54)  # rows 0 to 3 are tested in fold 1
    fold, _, other, *_ = make_folds(marked, FoldsConfig(protocol="official"))
    assert fold.note == "speakers unknown; 2 training clips that are near-duplicates of test clips stay, as published"
    assert other.note == "speakers unknown"
    assert len(fold.train) + len(fold.validation) == 48


def test_near_duplicates_of_a_held_out_group_are_left_out_of_training() -> None:
    manifest = with_cells(corpus(), "duplicates", ["one"] + [""] * 19 + ["one"] + [""] * 39)
    clip_ids = list(manifest.table["clip_id"])
    fold = make_folds(manifest, FoldsConfig(protocol="leave-one-group-out"))[0]
    assert clip_ids[0] in fold.test
    assert clip_ids[20] not in (*fold.train, *fold.validation, *fold.test)
    assert fold.note == "1 training clips that are near-duplicates of test clips left out"


def test_without_a_validation_share_all_training_clips_train() -> None:
    (first, *_) = make_folds(corpus(), FoldsConfig(validation_share=0.0))
    assert (first.validation, len(first.train) + len(first.test)) == ((), 60)


def test_a_published_validation_part_is_never_trained_on() -> None:
    parts = ["train"] * 3 + ["validation", "test"]
    manifest = with_cells(corpus(), "split", [parts[row % 20 // 4] for row in range(60)])
    plain, without = (
        make_folds(manifest, FoldsConfig(protocol="official", validation_share=share)) for share in (0.2, 0.0)
    )
    assert plain == without


def test_a_clip_in_two_parts_is_a_leak() -> None:
    manifest = corpus()
    fold = make_folds(manifest, FoldsConfig())[0]
    with pytest.raises(FoldLeak, match=f"clip `{fold.train[0]}` is in both train and test of fold 1 of `made`"):
        check_fold(replace(fold, test=fold.train[:1]), manifest)


def test_an_emotion_without_training_clip_is_an_empty_class() -> None:
    manifest = corpus()
    fold = make_folds(manifest, FoldsConfig())[0]
    train = tuple(clip_id for clip_id in fold.train if "anger" not in clip_id)
    with pytest.raises(EmptyClass, match="no training clip of `anger` in fold 1"):
        check_fold(replace(fold, train=train), manifest)


def test_an_empty_part_is_an_empty_class() -> None:
    with pytest.raises(EmptyClass, match="fold 1 has no clip for train"):
        check_fold(Fold("1", (), (), (), True, ""), corpus())


def test_an_emotion_that_only_the_held_out_group_has_cannot_be_trained() -> None:
    manifest = with_cells(corpus(), "emotion", [*["boredom"] * 2, *corpus().table["emotion"][2:]])
    with pytest.raises(EmptyClass, match="no training clip of `boredom` in fold c0"):
        make_folds(manifest, FoldsConfig(protocol="leave-one-group-out"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (FoldsConfig(protocol="leave-one-group-out"), r"column `culture` names 1 group\(s\), at least 2"),
        (FoldsConfig(protocol="within-group"), r"c0 has 2 speaker\(s\)"),
        (FoldsConfig(protocol="speaker-independent"), r"the corpus has 2 speaker\(s\)"),
        (FoldsConfig(protocol="official"), "no published folds in the manifest"),
        (FoldsConfig(group="tribe"), "without a column `tribe`"),
    ],
)
def test_what_cannot_be_divided_says_what_is_missing(config: FoldsConfig, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        make_folds(corpus(cultures=1, speakers=2), config)


def test_one_training_speaker_leaves_none_for_validation() -> None:
    manifest = with_cells(corpus(cultures=1, speakers=2), "fold", ["1"] * 4 + ["2"] * 4)
    with pytest.raises(ManifestError, match=r"fold 1 has 1 training speaker\(s\)"):
        make_folds(manifest, FoldsConfig(protocol="official"))


def test_an_unknown_split_is_named() -> None:
    manifest = with_cells(corpus(), "split", ["train"] * 59 + ["dev"])
    with pytest.raises(ManifestError, match="`split` holds `dev`"):
        make_folds(manifest, FoldsConfig(protocol="official"))


@pytest.mark.parametrize(("setting", "value"), [("n_folds", 1), ("validation_share", 0.6)])
def test_settings_that_leave_a_part_empty_are_refused(setting: str, value: float) -> None:
    with pytest.raises(ManifestError, match=f"`folds.{setting}` is {value}\n\nhint: a number "):
        FoldsConfig(**{setting: value})  # type: ignore[arg-type]


def test_the_trial_recordings_divide_in_every_way(trial_data: Path) -> None:
    manifest = read_manifest(trial_data / "speech" / "manifest.csv")
    assert len(make_folds(manifest, FoldsConfig(protocol="leave-one-group-out"))) == 4
    assert len(make_folds(manifest, FoldsConfig(protocol="within-group"))) == 20


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n_groups", "n_clips"), [(7, 40), (30, 200), (60, 64)])
def test_groups_are_dealt_as_scikit_learn_deals_them(seed: int, n_groups: int, n_clips: int) -> None:
    generator = np.random.default_rng(seed)
    strata, groups = generator.integers(0, 4, n_clips), generator.integers(0, n_groups, n_clips)
    reference = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    expected = [part.tolist() for _, part in reference.split(groups, strata, groups)]
    assert [part.tolist() for part in dealt_groups(strata, groups, 5, seed)] == expected


def test_groups_of_one_stratum_are_dealt_by_size() -> None:
    groups = np.repeat(np.arange(10), np.arange(1, 11))
    reference = StratifiedGroupKFold(3, shuffle=True, random_state=0)
    expected = [part.tolist() for _, part in reference.split(groups, np.arange(55) % 2, groups)]
    assert [part.tolist() for part in dealt_groups(np.arange(55) % 2, groups, 3, 0)] == expected
