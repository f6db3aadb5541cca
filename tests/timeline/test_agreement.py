"""Figures are compared with scikit-learn and the `krippendorff` package, reading with what pympi writes."""

import csv
import json
from pathlib import Path
from time import process_time

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from cimeu.errors import ManifestError, UnknownLabel
from cimeu.timeline.agreement import agree, compare, nominal_alpha, write_agreement
from cimeu.timeline.annotations import Annotation, Tier
from cimeu.timeline.result import Timeline
from cimeu.timeline.segments import Header, Segment


def tier(*annotations: tuple[float, float, str], name: str = "a") -> Tier:
    made = tuple(
        Annotation(start_s=float(start_s), end_s=float(end_s), label=label) for start_s, end_s, label in annotations
    )
    return Tier(name=name, source=f"{name}.csv", annotations=made)


def random_tiers(seed: int) -> tuple[Tier, Tier, list[str], list[str]]:
    """Two tiers of one-second segments, with gaps; and their labels where both have one."""
    generator = np.random.default_rng(seed)
    labels = [list(generator.choice(["anger", "joy", "neutral", ""], 80, p=[0.4, 0.2, 0.3, 0.1])) for _ in range(2)]
    labels[1] = [a if a and generator.random() < 0.5 else b for a, b in zip(*labels, strict=True)]
    tiers = [tier(*((i, i + 1, label) for i, label in enumerate(row) if label)) for row in labels]
    both = [(a, b) for a, b in zip(*labels, strict=True) if a and b]
    return tiers[0], tiers[1], [a for a, _ in both], [b for _, b in both]


@pytest.mark.parametrize("seed", range(3))
def test_kappa_is_that_of_scikit_learn(seed: int) -> None:
    one, other, mine, theirs = random_tiers(seed)
    assert compare(one, other, grid_s=1.0).kappa == pytest.approx(cohen_kappa_score(mine, theirs))


@pytest.mark.parametrize("seed", range(3))
def test_alpha_is_that_of_the_krippendorff_package(seed: int) -> None:
    one, other, mine, theirs = random_tiers(seed)
    numbers = [[("anger", "joy", "neutral").index(label) for label in row] for row in (mine, theirs)]
    expected = krippendorff.alpha(np.array(numbers), level_of_measurement="nominal")
    assert compare(one, other, grid_s=1.0).alpha == pytest.approx(expected)


def test_chance_is_the_share_that_random_labels_would_give() -> None:
    found = compare(tier((0, 5, "anger"), (5, 10, "fear")), tier((0, 10, "anger")))
    assert (found.observed, found.by_chance, found.kappa) == (0.5, 0.5, 0.0)


def test_one_label_alone_has_no_kappa() -> None:
    found = compare(tier((0, 5, "anger")), tier((0, 5, "anger")))
    assert (found.observed, found.kappa, found.alpha) == (1.0, None, None)
    assert nominal_alpha(np.array([[3.0]])) is None


def test_time_that_one_alone_labelled_is_no_disagreement() -> None:
    found = compare(tier((0, 4, "anger")), tier((2, 7, "anger"), (7, 8, "fear")))
    assert (found.both_s, found.first_only_s, found.second_only_s) == (2.0, 2.0, 4.0)
    assert found.disagreements == ()
    assert found.observed == 1.0


def test_confusion_counts_seconds() -> None:
    found = compare(tier((0, 4, "anger"), (4, 10, "fear")), tier((0, 3, "anger"), (3, 10, "fear")))
    assert found.labels == ("anger", "fear")
    assert found.confusion_s == ((3.0, 1.0), (0.0, 6.0))


def test_disagreements_are_stretches_with_both_labels() -> None:
    found = compare(tier((0, 4, "anger"), (4, 10, "fear")), tier((0, 3, "anger"), (3, 10, "fear")))
    assert [(each.start_s, each.end_s, each.first, each.second) for each in found.disagreements] == [
        (3.0, 4.0, "anger", "fear")
    ]


def test_segments_are_the_same_from_the_overlap_on() -> None:
    one = tier((0, 4, "anger"), (4, 10, "fear"))
    other = tier((0, 2, "anger"), (2, 4, "fear"), (4, 9, "fear"))
    found = compare(one, other, same_iou=0.5)
    assert (found.precision, found.recall) == (2 / 3, 1.0)
    assert found.f1 == pytest.approx(0.8)
    assert compare(one, other, same_iou=0.6).recall == 0.5


def test_a_segment_is_paired_once() -> None:
    found = compare(tier((0, 4, "anger")), tier((0, 2, "anger"), (2, 4, "anger")), same_iou=0.5)
    assert (found.precision, found.recall) == (0.5, 1.0)


def test_a_finer_grid_changes_little() -> None:
    one, other = tier((0, 3.33, "anger"), (3.33, 9, "fear")), tier((0, 5, "anger"), (5, 9, "fear"))
    assert compare(one, other, grid_s=0.01).observed == pytest.approx(1 - 1.67 / 9, abs=1e-3)


def saved_timeline(folder: Path, suffix: str) -> Path:
    header = Header(
        "a.mp4", "0", 3.0, "cimeu-abc", ("anger", "happiness"), {"hog": "1"}, {"window_s": 2.0}, False, "0.1", ""
    )

    def segment(start_s: float, end_s: float, label: str, reason: str = "") -> Segment:
        scores = {"anger": 0.5, "happiness": 0.5} if reason != "no face" else {}
        return Segment(
            "person 1", float(start_s), float(end_s), label, 0.5 if scores else None, scores, False, "face", reason
        )

    segments = (segment(0, 2, "anger"), segment(2, 2.5, "", "unsure"), segment(2.5, 3, "happiness"))
    return Timeline(header, (*segments, segment(3, 4, "", "no face")), folder / "a.mp4").save(folder / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".eaf", ".csv"])
def test_a_person_is_compared_with_the_model(human: Path, suffix: str) -> None:
    found = agree(human, saved_timeline(human.parent, suffix), tier="emotion")
    assert (found.second.name, found.both_s) == ("person 1", 2.5)
    assert found.observed == pytest.approx(0.8)
    assert [(each.start_s, each.end_s) for each in found.disagreements] == [(1.5, 2.0)]
    assert found.unmatched == found.unknown == ()


def test_two_people_are_compared_on_the_tier_of_the_same_name(human: Path) -> None:
    assert agree(human, human, tier="emotion").kappa == 1.0


def labelled(path: Path, *labels: str) -> Path:
    """A table with two seconds of each label."""
    rows = "".join(f"{2 * place},{2 * place + 2},{label}\n" for place, label in enumerate(labels))
    path.write_text("start_s,end_s,label\n" + rows, encoding="utf-8")
    return path


def test_labels_that_no_space_has_are_an_error_with_an_offer(tmp_path: Path) -> None:
    one, other = labelled(tmp_path / "a.csv", "Wut", "sad", "hapy"), labelled(tmp_path / "b.csv", "anger", "sad", "joy")
    message = (
        r"`a` of `a.csv`: no label space has `hapy` \(1\), `wut` \(1\)\n\n"
        r"hint: --label-map hapy=happiness; --label-map wut=anger \(German\), or --allow-unknown-labels"
    )
    with pytest.raises(UnknownLabel, match=message):
        agree(one, other)
    assert agree(one, other, label_map={"Wut": "anger", "hapy": "happiness"}).kappa == 1.0


def test_unknown_labels_count_as_they_are_where_they_are_allowed(tmp_path: Path) -> None:
    one, other = labelled(tmp_path / "a.csv", "hapy", "sad"), labelled(tmp_path / "b.csv", "happy", "sad")
    found = agree(one, other, allow_unknown=True)
    assert found.unmatched == ("happiness", "hapy")
    assert found.unknown == ("hapy",)
    assert found.observed == 0.5


def test_what_is_left_out_is_counted_on_the_page(tmp_path: Path) -> None:
    from cimeu.timeline.agreement import to_page

    one = labelled(tmp_path / "a.csv", "anger", "", "sad")
    found = agree(one, labelled(tmp_path / "b.csv", "anger", "sad", "sad"))
    assert found.left_out == ("annotations without a label of `a` in `a.csv`: 1 (line 3)",)
    assert "Left out: annotations without a label of `a` in `a.csv`: 1" in to_page(found)


def test_tiers_that_are_not_compared_are_named(tmp_path: Path) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("person,start_s,end_s,label\np,0,2,anger\n")
    rows = "".join(f"{name},0,2,anger\n" for name in ("p", "q", *"rstuv"))
    other.write_text(f"person,start_s,end_s,label\n{rows}")
    left_out = agree(one, other).left_out
    assert left_out[0] == "tier `q` of `other.csv` (--second-tier takes another one)"
    assert (len(left_out), left_out[-1]) == (6, "1 further tiers of `other.csv`")
    assert agree(one, other, second_tier="q").left_out == ()


def test_milliseconds_beside_seconds_are_refused(tmp_path: Path) -> None:
    seconds = labelled(tmp_path / "s.csv", "anger", "sad")
    other = tmp_path / "ms.csv"
    other.write_text("start_s,end_s,label\n0,2000,anger\n2000,4000,sad\n")
    with pytest.raises(
        ManifestError, match=r"`ms.csv` ends at 4,000 s, `s.csv` at 4.0 s: are times of the first milli"
    ):
        agree(seconds, other)


def test_the_annotation_that_began_last_counts_where_some_overlap() -> None:
    found = compare(tier((0, 10, "anger"), (2, 4, "fear"), (3, 9, "sadness")), tier((0, 10, "anger")))
    assert found.confusion_s == ((3.0, 0.0, 0.0), (1.0, 0.0, 0.0), (6.0, 0.0, 0.0))


def test_too_many_overlaps_are_several_people() -> None:
    with pytest.raises(
        ManifestError, match=r"more than 100 annotations of a tier overlap at .* s\n\nhint: a tier is ab"
    ):
        compare(tier(*((i / 1000, 5, "anger") for i in range(200))), tier((0, 1, "anger")))


def test_thousands_of_segments_cost_in_proportion() -> None:
    """Their square took fourteen seconds."""
    one = tier(*((i, i + 1, ("anger", "fear")[i % 2]) for i in range(4_000)))
    started = process_time()
    assert compare(one, one).kappa == 1.0
    assert process_time() - started < 4


def test_page_json_and_csv_are_written(human: Path, tmp_path: Path) -> None:
    found = agree(human, saved_timeline(tmp_path, ".eaf"), tier="emotion")
    page, data, table = write_agreement(found, tmp_path / "out" / "agreement.html")
    text = page.read_text(encoding="utf-8")
    assert "<h2>1 disagreement</h2>" in text
    assert "time (minutes:seconds)" in text
    for outside in ("<script", "src=", "@import"):
        assert outside not in text
    assert json.loads(data.read_text())["kappa"] == pytest.approx(found.kappa)
    assert list(csv.reader(table.read_text().splitlines())) == [
        ["start_s", "end_s", "first", "second"],
        ["1.5", "2.0", "happiness", "anger"],
    ]


def test_names_of_files_and_tiers_are_escaped() -> None:
    from cimeu.timeline.agreement import to_page

    page = to_page(compare(tier((0, 1, "<b>&"), name="<i>"), tier((0, 1, "anger"))))
    assert "<i>" not in page
    assert "<b>&" not in page


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.doc",
            "x",
            r"`a\.doc` holds no tiers that can be read\n\nhint: .* \.eaf, a Praat \.TextGrid, or a table: \.csv",
        ),
        ("a.eaf", "<broken", r"a\.eaf` cannot be read \(ParseError"),
        ("a.csv", "start,end,label\n0,1,x\n", r"a\.csv` has no column `start_s`, found: start, end"),
        ("a.csv", "start_s,end_s,label\n0,2,sad\n2,1,x\n", r"tier `a` of .* cannot be used: line 3 runs from 2 to 1 s"),
        ("a.csv", "start_s,end_s,label\n0,2,sad\n2,,x\n", "line 3 lacks start_s or end_s"),
        ("a.csv", "start_s,end_s,label\n-1,2,sad\n", r"line 2 of .* starts at -1 s\n\nhint: the recording starts at 0"),
        ("a.csv", "start_s,end_s,label\n0,inf,sad\n", "`end_s` in line 2 of .* is `inf`"),
        ("a.csv", "start_s,end_s,label\n0,2e5,sad\n", r"ends at 200,000 s, after 55.6 hours: are its times millisec"),
        ("a.csv", "start_s,end_s,label\n0,9000,sad\n9000,12000,joy\n", "ends at 12,000 s, after 3.3 hours"),
        ("a.csv", "start_s,end_s,label\n0,1,x\n", r"a\.csv` has 0 tiers with emotions\n\nhint: .*: `a`"),
        ("a.csv", "start_s,end_s,label,tier\n0,1,sad,p\n0,1,sad,q\n", r"has 2 tiers with emotions\n\n.*: `p`, `q`"),
    ],
)
def test_what_cannot_be_compared_is_told(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ManifestError, match=message):
        agree(tmp_path / name, tmp_path / name)


def test_a_missing_file_and_a_missing_tier_are_told(human: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.eaf` does not exist"):
        agree(tmp_path / "none.eaf", human)
    with pytest.raises(ManifestError, match=r"has no tier `mood`\n\nhint: its tiers are `emotion`, `words`"):
        agree(human, human, tier="mood")


def test_tiers_without_common_time_are_refused() -> None:
    with pytest.raises(ManifestError, match=r"`a` of `a\.csv` and `b` of `b\.csv` share no labelled time"):
        compare(tier((0, 1, "anger")), tier((1, 2, "anger"), name="b"))


@pytest.mark.parametrize("grid_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_grid_is_above_zero(grid_s: float) -> None:
    with pytest.raises(ManifestError, match=rf"a grid of {grid_s} s\n\nhint: moments some time apart, such as 0\.1"):
        compare(tier((0, 1, "anger")), tier((0, 1, "anger")), grid_s=grid_s)


@pytest.mark.parametrize("same_iou", [0.0, 1.1, float("nan")])
def test_an_overlap_is_a_share(same_iou: float) -> None:
    with pytest.raises(ManifestError, match=f"an overlap of {same_iou}\n\nhint: above 0 and at most 1"):
        compare(tier((0, 1, "anger")), tier((0, 1, "anger")), same_iou=same_iou)
