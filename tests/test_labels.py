import subprocess
import sys

import pytest

from cimeu.errors import RecipeError, UnknownLabel
from cimeu.labels import ALIASES, KNOWN_EMOTIONS, SPACES, LabelSpace, canonical, label_space, mapping


@pytest.mark.parametrize("spelling", ["Happy", "joy", " HAPPINESS "])
def test_spellings_of_one_emotion_share_a_name(spelling: str) -> None:
    assert canonical(spelling) == "happiness"


def test_every_alias_leads_to_an_emotion_of_some_space() -> None:
    assert set(ALIASES.values()) <= KNOWN_EMOTIONS
    assert not KNOWN_EMOTIONS & set(ALIASES)


@pytest.mark.parametrize("space", SPACES.values(), ids=lambda space: space.name)
def test_the_index_of_an_emotion_is_its_place(space: LabelSpace) -> None:
    assert [space.index(emotion) for emotion in space] == list(range(len(space)))


def test_an_unknown_emotion_is_answered_with_a_guess() -> None:
    with pytest.raises(UnknownLabel, match=r"emotion `hapiness` is not in .* `four`\n\nhint: did you mean `happiness`"):
        SPACES["four"].index("hapiness")


def test_an_emotion_unlike_any_other_is_answered_with_the_list() -> None:
    with pytest.raises(UnknownLabel, match="hint: known: anger, happiness, neutral, sadness"):
        SPACES["four"].index("xyz")


def test_a_space_is_found_by_its_name() -> None:
    assert label_space("dfew").emotions[0] == "happiness"


def test_listed_emotions_of_a_known_space_are_that_space() -> None:
    assert label_space(["angry", "happy", "neutral", "sad"]) is SPACES["four"]


def test_a_mistyped_space_is_answered_with_a_guess() -> None:
    with pytest.raises(RecipeError, match=r"label space `dfwe`\n\nhint: did you mean `dfew`"):
        label_space("dfwe")


def test_an_emotion_cannot_be_listed_twice_under_two_names() -> None:
    with pytest.raises(RecipeError, match="`happiness` is listed twice"):
        label_space(["happy", "joy"])


def test_a_space_needs_emotions() -> None:
    with pytest.raises(RecipeError, match="without emotions"):
        label_space([])


def test_mapping_goes_by_name_and_counts_what_is_lost() -> None:
    found = mapping(SPACES["ravdess"], SPACES["four"])
    assert {old for old, new in found.table.items() if new is None} == {"calm", "fear", "disgust", "surprise"}
    assert found.coverage({"neutral": 96, "angry": 192, "calm": 96}) == 0.75
    assert found.absent == ()


def test_emotions_without_a_source_are_named() -> None:
    assert mapping(SPACES["enterface"], SPACES["four"]).absent == ("neutral",)


def test_a_merge_adds_what_names_do_not_say() -> None:
    assert mapping(SPACES["ravdess"], SPACES["four"], {"calm": "neutral"}).coverage({"calm": 3}) == 1.0


def test_a_merge_of_an_unknown_emotion_is_refused() -> None:
    with pytest.raises(UnknownLabel, match="`boredom`"):
        mapping(SPACES["ravdess"], SPACES["four"], {"boredom": "neutral"})


def test_every_corpus_with_emotions_of_its_own_has_a_label_space() -> None:
    from cimeu.corpora.adapters.registry import PUBLISHED

    assert set(PUBLISHED) - {"lists"} <= set(SPACES)


def test_compound_emotions_are_eleven_single_and_thirty_two_joined_ones() -> None:
    single, compound = SPACES["mafw"].emotions, SPACES["mafw-compound"].emotions
    assert (len(compound), len(set(compound)), compound[:11]) == (43, 43, single)
    assert all(set(name.split("_")) <= set(single) for name in compound)


def test_labels_need_only_the_standard_library() -> None:
    heavy = "{'torch', 'numpy', 'pandas', 'sklearn', 'av'}"
    subprocess.run(
        [sys.executable, "-c", f"import sys, cimeu.labels; assert not {heavy} & set(sys.modules)"], check=True
    )
