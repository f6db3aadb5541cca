import csv
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pyarrow.parquet as pq
import pytest
import webvtt
from PIL import Image
from pympi import Elan

from cimeu.errors import MediaError, OutputError, RecipeError
from cimeu.timeline.annotations import read_tiers
from cimeu.timeline.explanation import Contribution, Explanation, Neighbour
from cimeu.timeline.formats import WRITERS
from cimeu.timeline.result import Timeline
from cimeu.timeline.segments import DEMONSTRATION, UNLIKE, USE_LIMITS, Header, Place, ScoredWindow, Segment

EMOTIONS = ("anger", "happiness", "sadness")


def segment(person: str, start_s: float, end_s: float, label: str, reason: str = "", **changes: object) -> Segment:
    scores = {} if reason == "no face" else {emotion: 0.8 if emotion == label else 0.1 for emotion in EMOTIONS}
    values = {
        "confidence": max(scores.values(), default=None),
        "scores": scores,
        "abstain": False,
        "modality": "both" if scores else "",
    }
    return Segment(person, start_s, end_s, label, reason=reason, **(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def timeline(tmp_path: Path) -> Timeline:
    (tmp_path / "videos").mkdir()
    header = Header(
        "a <b> & c.mp4", "00ff", 3700.0, "cimeu-abc", EMOTIONS, {"hog": "12"}, {"window_s": 1.92}, True, "0.1.0", ""
    )
    segments = (
        segment("person 1", 0.0, 1.5, "anger"),
        segment("person 1", 1.5, 2.0, "", "unsure", abstain=True),
        segment("person 1", 2.0, 3.0, "", "no face"),
        segment("person 1", 3.0, 3700.0, "happiness", "silent sound", modality="face"),
        segment("<person> & 2", 1.0, 2.5, "sadness"),
    )
    series = (
        ScoredWindow("person 1", 0.0, 0.5, (0.8, 0.1, 0.1), "both", "", 0.4),
        ScoredWindow("person 1", 2.0, 2.5, None, "", "no face", None),
    )
    return Timeline(header, segments, tmp_path / "videos" / "a <b> & c.mp4", series=series)


def saved(timeline: Timeline, tmp_path: Path, suffix: str) -> Path:
    return timeline.save(tmp_path / "results" / f"a{suffix}")


def text(timeline: Timeline, tmp_path: Path, suffix: str) -> str:
    return saved(timeline, tmp_path, suffix).read_text(encoding="utf-8")


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_export_opens_with_the_use_limits(timeline: Timeline, tmp_path: Path, suffix: str) -> None:
    head = saved(timeline, tmp_path, suffix).read_bytes()
    if suffix not in (".parquet", ".series.parquet", ".png", ".svg"):  # these hold it in their metadata
        head = head[: 700 + 5000 * (suffix == ".html")]  # a page begins with its style
    assert USE_LIMITS.encode() in head


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_export_is_marked_as_demonstration(timeline: Timeline, tmp_path: Path, suffix: str) -> None:
    assert DEMONSTRATION.encode() in saved(timeline, tmp_path, suffix).read_bytes()


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_export_names_model_and_fingerprint(timeline: Timeline, tmp_path: Path, suffix: str) -> None:
    content = saved(timeline, tmp_path, suffix).read_bytes()
    assert b"cimeu-abc" in content
    assert b"hog" in content


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_export_says_where_a_sample_comes_from(timeline: Timeline, tmp_path: Path, suffix: str) -> None:
    header = replace(timeline.header, origin="package 1 of PyPI: read speech")
    assert b"package 1 of PyPI: read speech" in saved(replace(timeline, header=header), tmp_path, suffix).read_bytes()


@pytest.mark.parametrize("suffix", WRITERS)
def test_the_same_timeline_gives_the_same_bytes(timeline: Timeline, tmp_path: Path, suffix: str) -> None:
    once = saved(timeline, tmp_path, suffix).read_bytes()
    assert saved(timeline, tmp_path, suffix).read_bytes() == once
    assert str(tmp_path).encode() not in once


def test_csv_is_read_by_pandas(timeline: Timeline, tmp_path: Path) -> None:
    table = pd.read_csv(saved(timeline, tmp_path, ".csv"), comment="#", keep_default_na=False)
    assert table["label"].tolist() == ["anger", "", "", "happiness", "sadness"]
    assert table["score.happiness"].tolist()[2:4] == ["", "0.8"]


def test_csv_is_read_by_the_standard_library(timeline: Timeline, tmp_path: Path) -> None:
    lines = [line for line in text(timeline, tmp_path, ".csv").splitlines() if not line.startswith("#")]
    assert [row["reason"] for row in csv.DictReader(lines)] == ["", "unsure", "no face", "silent sound", ""]


def test_json_holds_header_and_segments(timeline: Timeline, tmp_path: Path) -> None:
    content = json.loads(text(timeline, tmp_path, ".json"))
    assert next(iter(content)) == "use_limits"
    assert content["demonstration"] is True
    assert content["segments"][0]["scores"] == {"anger": 0.8, "happiness": 0.1, "sadness": 0.1}


def explained(nearest: str, moments: tuple[Contribution, ...]) -> Explanation:
    """Why the first segment is anger: one stream, some moments, one training clip."""
    return Explanation(
        person="person 1",
        start_s=0.0,
        end_s=1.5,
        label="anger",
        score=0.7,
        n_windows=1,
        streams=(Contribution(stream="face (hog)", start_s=0.0, end_s=1.5, lost=0.25),),
        moments=moments,
        neighbours=(Neighbour(clip_id=nearest, emotion="anger", corpus="toy", culture="east", similarity=0.9),),
        neighbours_with_style=(),
    )


def test_json_gives_the_timeline_back(timeline: Timeline, tmp_path: Path) -> None:
    places = {"person 1": (Place(0.0, 0.1, 0.2, 0.3, 0.4), Place(0.2, 0.1, 0.2, 0.3, 0.4))}
    part = Contribution(stream="face (hog)", start_s=0.0, end_s=1.5, lost=0.25)
    whole = replace(timeline, places=places, explanations=(explained("c1", (part, part)),))
    assert Timeline.from_json(saved(whole, tmp_path, ".json").read_bytes(), timeline.media_path) == whole
    assert Timeline.from_json(saved(timeline, tmp_path, ".json").read_bytes(), timeline.media_path) == timeline


def test_json_lines_are_header_then_segments(timeline: Timeline, tmp_path: Path) -> None:
    header, *segments = [json.loads(line) for line in text(timeline, tmp_path, ".jsonl").splitlines()]
    assert header["model"] == "cimeu-abc"
    assert [each["person"] for each in segments] == [each.person for each in timeline.segments]


def test_parquet_gives_the_table_back(timeline: Timeline, tmp_path: Path) -> None:
    path = saved(timeline, tmp_path, ".parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(path), timeline.to_dataframe(), check_dtype=False)
    assert json.loads(pq.read_schema(path).metadata[b"cimeu"])["model"] == "cimeu-abc"


def test_vtt_is_read_by_webvtt(timeline: Timeline, tmp_path: Path) -> None:
    captions = webvtt.read(str(saved(timeline, tmp_path, ".vtt"))).captions
    assert [(each.start, each.voice) for each in captions][:2] == [
        ("00:00:00.000", "person 1"),
        ("00:00:01.000", "&lt;person&gt; &amp; 2"),
    ]
    assert captions[-1].end == "01:01:40.000"


def test_vtt_cues_are_in_order_of_time_and_escaped(timeline: Timeline, tmp_path: Path) -> None:
    blocks = text(timeline, tmp_path, ".vtt").split("\n\n")
    assert blocks[0].startswith("WEBVTT - ")
    assert blocks[1].startswith("NOTE\n")
    cues = blocks[2:]
    assert cues[0] == "00:00:00.000 --> 00:00:01.500\n<v person 1>anger 0.80 (both)"
    assert cues[1] == "00:00:01.000 --> 00:00:02.500\n<v &lt;person&gt; &amp; 2>sadness 0.80 (both)"
    assert cues[3] == "00:00:02.000 --> 00:00:03.000\n<v person 1>[no face]"
    assert cues[4].rstrip() == "00:00:03.000 --> 01:01:40.000\n<v person 1>happiness 0.80 (face; silent sound)"


def test_rttm_is_a_table_of_ten_columns(timeline: Timeline, tmp_path: Path) -> None:
    table = pd.read_csv(saved(timeline, tmp_path, ".rttm"), sep=" ", comment=";", header=None)
    assert table.shape == (3, 10)
    assert table[7].tolist() == ["person_1", "person_1", "<person>_&_2"]


def test_rttm_joins_what_is_without_gap(timeline: Timeline, tmp_path: Path) -> None:
    lines = [line for line in text(timeline, tmp_path, ".rttm").splitlines() if not line.startswith(";;")]
    assert lines[0] == "SPEAKER a_<b>_&_c 1 0.000 2.000 <NA> <NA> person_1 <NA> <NA>"
    assert all(len(line.split()) == 10 for line in lines)
    assert len(lines) == 3


def test_eaf_is_read_by_pympi(timeline: Timeline, tmp_path: Path) -> None:
    document = Elan.Eaf(str(saved(timeline, tmp_path, ".eaf")))
    assert set(document.get_tier_names()) == {"person 1", "person 1, reason", "<person> & 2", "<person> & 2, reason"}
    assert [each[:3] for each in document.get_annotation_data_for_tier("person 1")] == [
        (0, 1500, "anger"),
        (1500, 2000, "unsure"),
        (3000, 3700000, "happiness"),
    ]
    assert document.get_parameters_for_tier("person 1")["PARTICIPANT"] == "person 1"
    assert document.get_linked_files()[0]["RELATIVE_MEDIA_URL"] == "../videos/a <b> & c.mp4"
    entries = document.get_cv_entries("emotions").values()
    assert {word for each in entries for word, *_ in each[0]} == {*EMOTIONS, "unsure", "unlike training data"}
    document.to_file(str(tmp_path / "again.eaf"))
    assert Elan.Eaf(str(tmp_path / "again.eaf")).get_tier_names() == document.get_tier_names()


def test_eaf_has_the_parts_of_its_schema_in_order(timeline: Timeline, tmp_path: Path) -> None:
    root = ElementTree.parse(saved(timeline, tmp_path, ".eaf")).getroot()
    kinds = [child.tag for child in root]
    order = ["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "LANGUAGE", "CONTROLLED_VOCABULARY"]
    assert sorted(kinds, key=order.index) == kinds
    assert {"AUTHOR", "DATE", "FORMAT", "VERSION"} <= set(root.attrib)


def test_eaf_has_no_attribute_that_the_format_lacks(timeline: Timeline, tmp_path: Path) -> None:
    """The attributes of EAF 3.0 that are used here, by element; ELAN refuses others."""
    known = {
        "ANNOTATION_DOCUMENT": "AUTHOR DATE FORMAT VERSION",
        "HEADER": "MEDIA_FILE TIME_UNITS",
        "MEDIA_DESCRIPTOR": "MEDIA_URL RELATIVE_MEDIA_URL MIME_TYPE",
        "PROPERTY": "NAME",
        "TIME_ORDER": "",
        "TIME_SLOT": "TIME_SLOT_ID TIME_VALUE",
        "TIER": "TIER_ID PARTICIPANT LINGUISTIC_TYPE_REF",
        "ANNOTATION": "",
        "ALIGNABLE_ANNOTATION": "ANNOTATION_ID TIME_SLOT_REF1 TIME_SLOT_REF2 CVE_REF",
        "ANNOTATION_VALUE": "",
        "LINGUISTIC_TYPE": "LINGUISTIC_TYPE_ID TIME_ALIGNABLE GRAPHIC_REFERENCES CONTROLLED_VOCABULARY_REF",
        "LANGUAGE": "LANG_ID LANG_DEF LANG_LABEL",
        "CONTROLLED_VOCABULARY": "CV_ID",
        "DESCRIPTION": "LANG_REF",
        "CV_ENTRY_ML": "CVE_ID",
        "CVE_VALUE": "LANG_REF DESCRIPTION",
    }
    for element in ElementTree.parse(saved(timeline, tmp_path, ".eaf")).getroot().iter():
        plain = {name for name in element.attrib if not name.startswith("{")}
        assert plain <= set(known[element.tag].split()), element.tag


def test_eaf_annotations_use_the_controlled_vocabulary(timeline: Timeline, tmp_path: Path) -> None:
    root = ElementTree.parse(saved(timeline, tmp_path, ".eaf")).getroot()
    entries = {e.get("CVE_ID"): e.findtext("CVE_VALUE") for e in root.iter("CV_ENTRY_ML")}
    assert set(entries.values()) == {*EMOTIONS, "unsure", "unlike training data"}
    types = {t.get("LINGUISTIC_TYPE_ID"): t.get("CONTROLLED_VOCABULARY_REF") for t in root.iter("LINGUISTIC_TYPE")}
    assert types == {"emotion": "emotions", "reason": None}
    tier = root.find("TIER[@TIER_ID='person 1']")
    assert tier is not None
    annotations = list(tier.iter("ALIGNABLE_ANNOTATION"))
    assert [a.findtext("ANNOTATION_VALUE") for a in annotations] == ["anger", "unsure", "happiness"]
    assert [entries[a.get("CVE_REF")] for a in annotations] == ["anger", "unsure", "happiness"]


def test_eaf_times_are_sorted_and_every_reference_resolves(timeline: Timeline, tmp_path: Path) -> None:
    root = ElementTree.parse(saved(timeline, tmp_path, ".eaf")).getroot()
    slots = {slot.get("TIME_SLOT_ID"): int(str(slot.get("TIME_VALUE"))) for slot in root.iter("TIME_SLOT")}
    assert list(slots.values()) == sorted(slots.values())
    names = [a.get("ANNOTATION_ID") for a in root.iter("ALIGNABLE_ANNOTATION")]
    assert len(set(names)) == len(names) == 4 + 3
    for annotation in root.iter("ALIGNABLE_ANNOTATION"):
        assert slots[annotation.get("TIME_SLOT_REF1")] < slots[annotation.get("TIME_SLOT_REF2")]
    tier = root.find("TIER[@TIER_ID='person 1, reason']")
    assert tier is not None
    assert [a.text for a in tier.iter("ANNOTATION_VALUE")] == ["unsure", "no face", "silent sound"]


def test_eaf_links_the_recording_relatively(timeline: Timeline, tmp_path: Path) -> None:
    media = ElementTree.parse(saved(timeline, tmp_path, ".eaf")).getroot().find("HEADER/MEDIA_DESCRIPTOR")
    assert media is not None
    assert media.get("RELATIVE_MEDIA_URL") == "../videos/a <b> & c.mp4"


def test_the_page_is_self_contained(timeline: Timeline, tmp_path: Path) -> None:
    page = text(timeline, tmp_path, ".html")
    for outside in ("<script", "src=", "href=", "url(", "@import"):
        assert outside not in page


@pytest.mark.parametrize(
    ("name", "place", "player"),
    [
        ("a b#1.mp4", "results", '<video controls preload="metadata" src="./a%20b%231.mp4"'),
        ("a.wav", ".", '<audio controls preload="metadata" src="../a.wav"'),
        ("a.mp4", "elsewhere", None),
    ],
)
def test_the_page_plays_a_recording_that_lies_near_it(
    timeline: Timeline, tmp_path: Path, name: str, place: str, player: str | None
) -> None:
    media = tmp_path / place / name
    media.parent.mkdir(exist_ok=True)
    assert "controls" not in text(replace(timeline, media_path=media), tmp_path, ".html")
    media.write_bytes(b"")
    page = text(replace(timeline, media_path=media), tmp_path, ".html")
    assert player in page if player else "controls" not in page


def test_the_page_names_the_recording_first_and_what_its_axis_is(timeline: Timeline, tmp_path: Path) -> None:
    main = text(timeline, tmp_path, ".html").split("<main>")[1]
    assert main.lstrip().startswith("<h1>a &lt;b&gt; &amp; c.mp4</h1>")
    assert "time (minutes:seconds)" in main


def test_the_page_shows_what_a_segment_rests_on(timeline: Timeline, tmp_path: Path) -> None:
    moments = tuple(
        Contribution(stream="face (hog)", start_s=float(n), end_s=n + 1.0, lost=lost)
        for n, lost in enumerate((0.2, -0.1))
    )
    explanation = explained("c<1>", moments)
    page = text(replace(timeline, explanations=(explanation,)), tmp_path, ".html")
    assert "<strong>anger</strong> 0.70 <small>(mean of 1 answer, before smoothing)</small>" in page
    assert "<span>face (hog)</span><span>+0.25</span>" in page
    assert 'style="left:0.00%;width:49.70%;bottom:50%;height:50.0%"' in page
    assert '<i class="against" style="left:50.00%;width:49.70%;top:50%;height:25.0%"' in page
    assert "c&lt;1&gt;, east; 0.90" in page
    assert "style primitives" not in page
    assert "What segments rest on" not in text(timeline, tmp_path, ".html")


def test_the_page_has_a_band_per_person_and_grey_reasons(timeline: Timeline, tmp_path: Path) -> None:
    page = text(timeline, tmp_path, ".html")
    assert page.count('class="band"') == 2
    assert page.count('class="none"') == 2
    assert "&lt;person&gt; &amp; 2" in page
    assert 'title="0:02.0 to 0:03.0: [no face]">no face</span>' in page


def test_png_is_a_picture_that_says_what_made_it(timeline: Timeline, tmp_path: Path) -> None:
    with Image.open(saved(timeline, tmp_path, ".png")) as image:
        assert image.width == 1500
        assert image.text["Title"] == "a <b> & c.mp4: emotions over time"  # type: ignore[attr-defined]
        assert "cimeu-abc" in image.text["Description"]  # type: ignore[attr-defined]


def test_svg_holds_its_words_as_text(timeline: Timeline, tmp_path: Path) -> None:
    root = ElementTree.parse(saved(timeline, tmp_path, ".svg")).getroot()
    words = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
    for word in ("person 1", "<person> & 2", "anger", "happiness 0.80", "model: cimeu-abc, cimeu 0.1.0"):
        assert word in words
    assert any(word.startswith("Use limits: ") for word in words)


def test_the_recording_itself_is_never_replaced(timeline: Timeline) -> None:
    timeline.media_path.write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"c\.mp4` is not a file that cimeu wrote\n\nhint: choose another place"):
        timeline.save(timeline.media_path)
    assert timeline.media_path.read_bytes() == b"precious"


def test_an_unknown_suffix_is_refused(timeline: Timeline, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cannot be saved as `a\.doc`\n\nhint: end the name in one of \.csv"):
        saved(timeline, tmp_path, ".doc")


def test_a_failed_export_leaves_nothing(timeline: Timeline, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"c\.mp4` does not exist"):
        saved(timeline, tmp_path, ".mp4")
    assert list((tmp_path / "results").iterdir()) == []


def test_a_timeline_without_segments_can_be_saved(timeline: Timeline, tmp_path: Path) -> None:
    empty = Timeline(timeline.header, (), timeline.media_path, series=())
    for suffix in WRITERS:
        assert saved(empty, tmp_path, suffix).stat().st_size


def test_the_page_shows_the_reason_first_and_the_guess_at_a_switch(timeline: Timeline) -> None:
    def page_of(one: Segment) -> str:
        return WRITERS[".html"](replace(timeline, segments=(one,)), Path("a.html")).decode().split("</style>")[1]

    strange = Segment(
        "person 1", 0.0, 2.0, "", 0.7, dict.fromkeys(EMOTIONS, 0.15) | {"anger": 0.7}, True, "face", UNLIKE, True
    )
    page = page_of(strange)
    assert '<input type="checkbox" id="guesses">' in page
    assert f'<span class="why">{UNLIKE}</span><span class="guess">anger? 0.70</span>' in page
    sure = replace(strange, label="anger", abstain=False, reason="")
    assert "guesses" not in page_of(sure)


TYPED = (
    "# Anna",
    "=1+1",
    "$\\frac{$",
    "'@x",
    "a,b;c",
    '"Q"',
    "-->",
    "<b>&",
    "\u202ename",
    "ends $",
    "_^{}\\",
    "中文",
    "😀",
    "عربى",
)
"""What people may type as the name of a lane."""


@pytest.fixture
def typed(timeline: Timeline) -> Timeline:
    return replace(timeline, segments=tuple(segment(name, 0.0, 1.5, "anger") for name in TYPED))


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_export_takes_any_name(typed: Timeline, tmp_path: Path, suffix: str) -> None:
    assert saved(typed, tmp_path, suffix).stat().st_size > 0


@pytest.mark.parametrize("suffix", [".csv", ".eaf"])
def test_what_people_typed_comes_back_equal(typed: Timeline, tmp_path: Path, suffix: str) -> None:
    tiers = [tier.name for tier in read_tiers(saved(typed, tmp_path, suffix))]
    assert [name for name in tiers if not name.endswith(", reason")] == list(TYPED)


def test_readers_that_skip_comments_keep_every_lane(typed: Timeline, tmp_path: Path) -> None:
    table = pd.read_csv(saved(typed, tmp_path, ".csv"), comment="#", keep_default_na=False)
    assert [name.lstrip("'") for name in table["person"]] == [name.lstrip("'") for name in TYPED]
    assert not table["person"].str.startswith(("=", "@")).any()


def test_a_drawing_shows_names_letter_by_letter(typed: Timeline, tmp_path: Path) -> None:
    drawn = ElementTree.parse(saved(typed, tmp_path, ".svg"))
    texts = {"".join(element.itertext()).strip() for element in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert set(TYPED) <= texts


@pytest.mark.parametrize("suffix", [".eaf", ".svg"])
def test_control_characters_leave_documents_whole(timeline: Timeline, tmp_path: Path, suffix: str) -> None:
    odd = replace(timeline, segments=(segment("An\x0bna\x00", 0.0, 1.5, "anger"),))
    content = saved(odd, tmp_path, suffix).read_text(encoding="utf-8")
    ElementTree.fromstring(content.encode())
    assert "An\ufffdna" in content
