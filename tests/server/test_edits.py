"""What people change of a timeline is in it, and what the model said stays to be seen."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cimeu.errors import RecipeError
from cimeu.server.edits import MOST_TIERS, NO_EDITS, Edits, edited, rater_tier
from cimeu.timeline.annotations import read_tiers
from cimeu.timeline.formats import WRITERS, to_raters_csv
from cimeu.timeline.result import Timeline
from cimeu.timeline.segments import Header, Place, RatedSegment, RaterTier, ScoredWindow, Segment

EMOTIONS = ("anger", "happiness", "sadness")
SCORES = {"anger": 0.7, "happiness": 0.2, "sadness": 0.1}


def segment(person: str, start_s: float, end_s: float, label: str = "anger", reason: str = "") -> Segment:
    return Segment(person, start_s, end_s, label, 0.7, SCORES, not label, "face", reason)


def timeline(*segments: Segment) -> Timeline:
    header = Header(
        media="a.mp4",
        content="0" * 32,
        duration_s=9.0,
        model="cimeu-1",
        emotions=EMOTIONS,
        fingerprints={},
        settings={},
        demonstration=False,
        version="0",
        faces="",
    )
    series = tuple(
        ScoredWindow(each.person, each.start_s, each.end_s, (0.7, 0.2, 0.1), "face", "", None) for each in segments
    )
    return Timeline(header, segments, Path("a.mp4"), series=series)


@pytest.fixture
def two() -> Timeline:
    """Two people one after the other, the first comes back."""
    return timeline(
        segment("person 1", 0.0, 2.0),
        segment("person 1", 2.0, 3.0, "", "unsure; no sound track"),
        segment("person 2", 3.0, 5.0, "sadness"),
        segment("person 3", 4.0, 6.0),
    )


def test_nothing_changed_is_the_same_timeline(two: Timeline) -> None:
    assert edited(two, NO_EDITS) == two


def test_a_name_replaces_the_number(two: Timeline) -> None:
    assert edited(two, Edits({"person 2": "Anna"}, {})).persons == ("person 1", "Anna", "person 3")


def test_lanes_of_one_name_become_one_lane_in_order_of_time(two: Timeline) -> None:
    found = edited(two, Edits({"person 1": "Anna", "person 3": "Anna"}, {}))
    assert found.persons == ("Anna", "person 2")
    assert [each.start_s for each in found.segments if each.person == "Anna"] == [0.0, 2.0, 4.0]


def test_faces_keep_their_places_under_the_new_name(two: Timeline) -> None:
    first, second = Place(0.5, 0.1, 0.1, 0.2, 0.2), Place(4.5, 0.5, 0.1, 0.2, 0.2)
    seen = replace(two, places={"person 3": (second,), "person 1": (first,)})
    assert edited(seen, Edits({"person 1": "Anna", "person 3": "Anna"}, {})).places == {"Anna": (first, second)}


def test_two_people_who_are_there_at_once_are_not_one(two: Timeline) -> None:
    with pytest.raises(RecipeError, match="two lanes cannot both be `Anna`: both are there at 4 s\n\nhint: give them"):
        edited(two, Edits({"person 2": "Anna", "person 3": "Anna"}, {}))


def test_the_tail_of_a_lost_face_makes_nobody_two_people() -> None:
    lost = timeline(
        segment("person 1", 0.0, 2.4), segment("person 2", 1.9, 2.2, "sadness"), segment("person 2", 2.2, 5.0)
    )
    both = edited(lost, Edits({"person 1": "Anna", "person 2": "Anna"}, {})).segments
    assert [(one.start_s, one.end_s, one.label) for one in both] == [
        (0.0, 1.9, "anger"),
        (1.9, 2.2, "sadness"),
        (2.2, 5.0, "anger"),
    ]


def test_a_stretch_of_which_nothing_is_said_gives_way() -> None:
    grey = replace(segment("person 1", 2.0, 8.0, "", "no face"), scores={}, confidence=None)
    both = edited(
        timeline(segment("person 1", 0.0, 2.0), grey, segment("person 2", 3.0, 6.0)),
        Edits({"person 2": "person 1"}, {}),
    ).segments
    assert [(one.start_s, one.end_s) for one in both] == [(0.0, 2.0), (2.0, 3.0), (3.0, 6.0)]


def test_a_correction_says_so_and_what_the_model_said(two: Timeline) -> None:
    found = edited(two, Edits({}, {0: "happiness", 1: "sadness"})).segments
    assert (found[0].label, found[0].confidence, found[0].scores) == ("happiness", 0.2, SCORES)
    assert found[0].reason == "corrected by hand, the model said anger"
    assert (found[1].label, found[1].abstain) == ("sadness", False)
    assert found[1].reason == "no sound track; corrected by hand, the model said unsure"


def test_a_stretch_of_which_nothing_was_said_can_be_labelled() -> None:
    grey = replace(segment("person 1", 0.0, 2.0, "", "no face"), scores={}, confidence=None, modality="")
    found = edited(timeline(grey), Edits({}, {0: "anger"})).segments[0]
    assert (found.label, found.confidence) == ("anger", None)
    assert found.reason == "no face; corrected by hand, the model said nothing"


@pytest.mark.parametrize(
    "suffix", [suffix for suffix in WRITERS if suffix not in (".png", ".rttm", ".parquet", ".series.parquet")]
)
@pytest.mark.parametrize("scores", [SCORES, {}], ids=["heard", "grey"])
def test_names_and_corrections_are_in_every_format_that_has_labels(suffix: str, scores: dict[str, float]) -> None:
    said = replace(segment("person 1", 0.0, 2.0, "", "no face"), scores=scores, confidence=0.7 if scores else None)
    found = edited(timeline(said), Edits({"person 1": "Zoë"}, {0: "sadness"}))
    text = WRITERS[suffix](found, Path("a" + suffix)).decode()
    assert "Zoë" in text or "Zo\\u00eb" in text
    # a label stands in the header and in legends as well
    without = WRITERS[suffix](edited(timeline(said), Edits({"person 1": "Zoë"}, {})), Path("a" + suffix)).decode()
    assert text.count("sadness") > without.count("sadness")


def test_a_change_of_none_takes_back(two: Timeline) -> None:
    edits = Edits({"person 1": "Anna"}, {0: "sadness"})
    assert edits.changed({"person 1": None}, {0: None}) == NO_EDITS
    assert edits.changed({"person 2": "Bo"}, {}).persons == {"person 1": "Anna", "person 2": "Bo"}


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        (Edits({"person 9": "Anna"}, {}), "no lane `person 9`\n\nhint: did you mean `person"),
        (Edits({}, {4: "anger"}), "no segment 4\n\nhint: they are numbered 0 to 3"),
        (Edits({}, {0: "hapiness"}), "unknown emotion `hapiness`\n\nhint: did you mean `happiness`?"),
    ],
)
def test_what_is_not_there_cannot_be_changed(two: Timeline, edits: Edits, message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        edited(two, edits)
    assert message in str(raised.value)


def test_windows_of_two_lanes_of_one_name_become_one_series_without_doubles(two: Timeline) -> None:
    blank = replace(two.series[0], person="person 3", scores=None, reason="no face")
    series = (*two.series, blank)
    found = edited(replace(two, series=series), Edits({"person 1": "Anna", "person 3": "Anna"}, {}))
    rows = [(window.person, window.start_s, window.scores is None) for window in found.series]
    assert rows == [("Anna", 0.0, False), ("Anna", 2.0, False), ("Anna", 4.0, False), ("person 2", 3.0, False)]


def test_a_corrected_segment_gives_its_windows_their_label(two: Timeline) -> None:
    found = edited(two, Edits({}, {1: "happiness"})).series_dataframe()
    assert found["label"].tolist() == ["anger", "happiness", "sadness", "anger"]


def tier(*rated: tuple[float, float, str], rater: str = "Eva", lane: str = "person 1") -> RaterTier:
    return rater_tier(rater, lane, [RatedSegment(*row) for row in rated])


def test_a_tier_stands_beside_the_models_segments(two: Timeline) -> None:
    both = edited(two, Edits({}, {}, (tier((1.5, 3.0, "unsure"), (0.0, 1.5, "sadness")),)))
    assert (both.segments, both.series) == (two.segments, two.series)
    assert both.raters[0].segments == (RatedSegment(0.0, 1.5, "sadness"), RatedSegment(1.5, 3.0, "unsure"))


def test_a_second_tier_of_a_rater_replaces_the_first_and_none_takes_it_back() -> None:
    first = NO_EDITS.changed({}, {}, [tier((0.0, 1.0, "anger")), tier((0.0, 1.0, "anger"), rater="Ben")])
    second = first.changed({}, {}, [tier((0.0, 2.0, "sadness"))])
    assert [(one.rater, one.segments[0].end_s) for one in second.raters] == [("Eva", 2.0), ("Ben", 1.0)]
    assert [one.rater for one in second.changed({}, {}, [tier()]).raters] == ["Ben"]


def test_tiers_of_lanes_of_one_name_become_one_without_overlaps(two: Timeline) -> None:
    tiers = tier((0.0, 3.5, "anger")), tier((3.0, 5.0, "sadness"), lane="person 2")
    joined = edited(two, Edits({"person 1": "Anna", "person 2": "Anna"}, {}, tiers)).raters
    rated = RatedSegment(0.0, 3.0, "anger"), RatedSegment(3.0, 5.0, "sadness")
    assert joined == (RaterTier("Eva", "Anna", rated),)


@pytest.mark.parametrize(
    ("tiers", "message"),
    [
        ((tier((1.0, 1.0, "anger")),), "a segment of rater `Eva` runs from 1 to 1 s\n\nhint: it starts before it ends"),
        ((tier((1.0, 1.0004, "anger")),), "runs from 1 to 1 s"),
        ((tier((2.0, 1.0, "anger")),), "runs from 2 to 1 s"),
        ((tier((-1.0, 1.0, "anger")),), "runs from -1 to 1 s"),
        (
            (tier((8.0, 9.5, "anger")),),
            "runs from 8 to 9.5 s\n\nhint: it starts before it ends, and lies between 0 and 9 s",
        ),
        ((tier((float("nan"), 1.0, "anger")),), "runs from nan to 1 s"),
        (
            (tier((0.0, 2.0, "anger"), (1.0, 3.0, "anger")),),
            "two segments of rater `Eva` overlap at 1 s\n\nhint: one person",
        ),
        ((tier((0.0, 2.0, "angr")),), "unknown label `angr`\n\nhint: did you mean `anger`?"),
        ((tier((0.0, 2.0, "")),), "unknown label ``"),
        ((tier((0.0, 2.0, "anger"), lane="person 9"),), "no lane `person 9`"),
        ((tier((0.0, 2.0, "anger"), rater=""),), "a tier has no rater\n\nhint: give the name"),
        (
            tuple(tier((0.0, 1.0, "anger"), rater=f"{number}") for number in range(MOST_TIERS + 1)),
            "201 tiers of raters",
        ),
    ],
)
def test_a_tier_that_cannot_be_is_refused(two: Timeline, tiers: tuple[RaterTier, ...], message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        edited(two, Edits({}, {}, tiers))
    assert message in str(raised.value)


@pytest.fixture
def rated(two: Timeline) -> Timeline:
    """Two raters, one of them of a person with a name."""
    tiers = tier((0.0, 1.25, "sadness"), (1.25, 3.0, "unsure")), tier((3.0, 5.0, "anger"), rater="Ben", lane="person 2")
    return edited(two, Edits({"person 2": "Zoë"}, {}, tiers))


@pytest.mark.parametrize("suffix", [".eaf", ".csv"])
def test_tiers_of_raters_are_read_back(rated: Timeline, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(WRITERS[".eaf"](rated, path) if suffix == ".eaf" else to_raters_csv(rated, path))
    tiers = {one.name: one for one in read_tiers(path)}
    eva, ben = tiers["person 1, rater Eva"], tiers["Zoë, rater Ben"]
    assert [(one.start_s, one.end_s, one.label) for one in eva.annotations] == [(0.0, 1.25, "sadness")]
    assert "annotations without a label" in eva.left_out[0]  # an abstention
    assert [(one.start_s, one.end_s, one.label) for one in ben.annotations] == [(3.0, 5.0, "anger")]


def test_the_page_draws_raters_below_the_model(rated: Timeline) -> None:
    page = WRITERS[".html"](rated, Path("a.html")).decode()
    assert 'aria-label="Zoë, rated by Ben"' in page
    assert 'title="0:01.2 to 0:03.0: unsure">unsure</span>' in page


def test_elan_sees_who_annotated(rated: Timeline) -> None:
    tiers = ElementTree.fromstring(WRITERS[".eaf"](rated, Path("a.eaf"))).iter("TIER")
    found = {one.get("TIER_ID"): (one.get("PARTICIPANT"), one.get("ANNOTATOR")) for one in tiers}
    assert found["Zoë, rater Ben"] == ("Zoë", "Ben")
    assert found["Zoë"] == ("Zoë", None)


def test_tiers_of_raters_come_back_from_json(rated: Timeline) -> None:
    content = WRITERS[".json"](rated, Path("a.json"))
    assert Timeline.from_json(content, Path("a.mp4")).raters == rated.raters
