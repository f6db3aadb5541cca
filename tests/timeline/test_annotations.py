"""What ELAN means by its documents, and tables as people save them. Documents are written by pympi."""

import re
from pathlib import Path
from time import process_time
from xml.etree import ElementTree

import pytest
from pympi import Elan

from cimeu.errors import ManifestError
from cimeu.timeline.annotations import Tier, read_tiers

THIRDS = [(0.0, 3.0, "anger"), (3.0, 6.0, "sadness"), (6.0, 9.0, "happiness")]


def times(tier: Tier) -> list[tuple[float, float, str]]:
    return [(each.start_s, each.end_s, each.label) for each in tier.annotations]


def tiers_of(path: Path) -> dict[str, list[tuple[float, float, str]]]:
    return {tier.name: times(tier) for tier in read_tiers(path)}


def edited(path: Path, *changes: tuple[str, str]) -> Path:
    text = path.read_text(encoding="utf-8")
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text)
        assert count, pattern
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def subdivided(tmp_path: Path) -> Path:
    """A parent from 0 to 9 s with three children of equal parts, and a tier of theirs in turn."""
    document = Elan.Eaf(author="somebody")
    document.add_linguistic_type("parts", constraints="Symbolic_Subdivision", timealignable=False)
    document.add_linguistic_type("same", constraints="Symbolic_Association", timealignable=False)
    document.add_tier("story")
    document.add_annotation("story", 0, 9000, "the whole")
    document.add_tier("emotion", ling="parts", parent="story")
    previous = None
    for label in ("anger", "sad", "Joy"):
        document.add_ref_annotation("emotion", "story", 100, label, prev=previous)
        previous = next(iter(reversed(document.tiers["emotion"][1])))
    document.add_tier("second look", ling="same", parent="emotion")
    document.to_file(str(tmp_path / "a.eaf"))
    return tmp_path / "a.eaf"


def test_children_of_a_subdivision_share_the_time_of_their_parent(subdivided: Path) -> None:
    assert tiers_of(subdivided)["emotion"] == THIRDS


def test_children_come_in_the_order_in_which_they_follow_one_another(subdivided: Path) -> None:
    tree = ElementTree.parse(subdivided)
    tier = next(tier for tier in tree.iter("TIER") if tier.get("TIER_ID") == "emotion")
    tier[:] = reversed(tier)
    tree.write(subdivided)
    assert tiers_of(subdivided)["emotion"] == THIRDS


def test_children_that_follow_each_other_in_a_circle_are_an_error(subdivided: Path) -> None:
    last = ElementTree.parse(subdivided).findall(".//REF_ANNOTATION")[-1].attrib["ANNOTATION_ID"]
    edited(subdivided, (r'(ANNOTATION_ID="a3" ANNOTATION_REF="a2")', rf'\1 PREVIOUS_ANNOTATION="{last}"'))
    with pytest.raises(
        ManifestError, match=r"a\.eaf` cannot be read \(ValueError: `a3` and 2 others follow one another"
    ):
        read_tiers(subdivided)


def test_an_association_has_the_time_of_its_parent(human: Path) -> None:
    found = tiers_of(human)
    assert found["emotion"] == [(0.0, 1.5, "anger"), (1.5, 3.0, "happiness")]
    assert found["words"] == [(0.0, 0.9, "well then")]
    assert found["second look"] == [(0.0, 1.5, "sadness")]


def test_boundaries_that_nobody_placed_part_the_time_between_those_of_their_tier(tmp_path: Path) -> None:
    """Other slots lie between them in the list of slots and do not count."""
    document = Elan.Eaf(author="somebody")
    document.add_tier("emotion")
    document.add_tier("words")
    for start, end, label in ((0, 2999, "anger"), (2999, 7777, "sad"), (7777, 9000, "joy")):
        document.add_annotation("emotion", start, end, label)
    for start in (100, 200, 300, 8000):
        document.add_annotation("words", start, start + 50, "and")
    document.to_file(str(tmp_path / "a.eaf"))
    path = edited(tmp_path / "a.eaf", (r' TIME_VALUE="2999"', ""), (r' TIME_VALUE="7777"', ""))
    tree = ElementTree.parse(path)
    slots = {slot.attrib["TIME_SLOT_ID"]: slot.get("TIME_VALUE") for slot in tree.iter("TIME_SLOT")}
    shared = sorted((slot for slot, value in slots.items() if value is None), key=lambda slot: int(slot[2:]))
    text = path.read_text(encoding="utf-8")  # pympi gives every boundary two slots; ELAN shares one
    for one, other in zip(shared[::2], shared[1::2], strict=True):
        text = text.replace(f'REF1="{other}"', f'REF1="{one}"')
    path.write_text(text, encoding="utf-8")
    assert tiers_of(path)["emotion"] == THIRDS


def test_a_boundary_without_a_placed_end_lies_between_its_neighbours(human: Path) -> None:
    tree = ElementTree.parse(human)
    order = tree.getroot().find("TIME_ORDER")
    assert order is not None
    order[:] = sorted(order, key=lambda slot: int(slot.attrib["TIME_VALUE"]))
    for slot in order:
        if slot.attrib["TIME_VALUE"] == "900":
            del slot.attrib["TIME_VALUE"]
    tree.write(human)
    assert 0 < tiers_of(human)["words"][0][1] < 1.5


def test_times_count_from_the_origin_of_the_recording(human: Path) -> None:
    edited(human, (r"<HEADER>", r'\g<0><MEDIA_DESCRIPTOR MEDIA_URL="a" MIME_TYPE="b" TIME_ORIGIN="2000" />'))
    assert tiers_of(human)["emotion"] == [(2.0, 3.5, "anger"), (3.5, 5.0, "happiness")]


def test_times_in_frames_are_refused(human: Path) -> None:
    edited(human, ("<HEADER>", '<HEADER TIME_UNITS="PAL-frames">'))
    with pytest.raises(ManifestError, match=r"cannot be read \(ValueError: times in PAL-frames\)"):
        read_tiers(human)


def test_instants_are_left_out_and_counted_in_their_tier(human: Path) -> None:
    edited(human, (r'TIME_VALUE="900"', 'TIME_VALUE="0"'))
    tiers = {tier.name: tier for tier in read_tiers(human)}
    assert tiers["words"].annotations == ()
    assert tiers["words"].left_out[0].startswith("instants of `words` in `human.eaf`: 1 (annotation a")
    assert len(tiers["emotion"].annotations) == 2


def test_times_that_cannot_be_are_a_fault_of_their_tier_alone(human: Path) -> None:
    edited(
        human,
        (r'TIME_VALUE="900"', 'TIME_VALUE="3999"'),
        (r'(?s)TIME_VALUE="0"(?!.*TIME_VALUE="0")', 'TIME_VALUE="5000"'),
    )
    tiers = {tier.name: tier for tier in read_tiers(human)}
    assert "runs from 5 to 3.999 s" in tiers["words"].fault
    assert tiers["emotion"].fault == ""


def document_of_references(path: Path, references: dict[str, str]) -> Path:
    rows = "".join(
        f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="{name}" ANNOTATION_REF="{parent}"><ANNOTATION_VALUE>sad'
        "</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
        for name, parent in references.items()
    )
    path.write_text(
        '<ANNOTATION_DOCUMENT><HEADER/><TIME_ORDER><TIME_SLOT TIME_SLOT_ID="1" TIME_VALUE="0"/><TIME_SLOT '
        'TIME_SLOT_ID="2" TIME_VALUE="1000"/></TIME_ORDER><TIER TIER_ID="t"><ANNOTATION><ALIGNABLE_ANNOTATION '
        'ANNOTATION_ID="a" TIME_SLOT_REF1="1" TIME_SLOT_REF2="2"><ANNOTATION_VALUE>anger</ANNOTATION_VALUE>'
        f'</ALIGNABLE_ANNOTATION></ANNOTATION></TIER><TIER TIER_ID="r">{rows}</TIER></ANNOTATION_DOCUMENT>'
    )
    return path


@pytest.mark.parametrize(
    ("references", "message"),
    [
        ({"b": "c", "c": "b"}, "annotations without a time: 2, the first is `b`: refer to one another in a circle"),
        ({"b": "b"}, "refer to one another in a circle"),
        ({"b": "z"}, "annotations without a time: 1, the first is `b`: `z` is not in the document"),
        ({"a": "a"}, "annotation `a` is there twice"),
    ],
)
def test_references_that_lead_nowhere_are_an_error(tmp_path: Path, references: dict[str, str], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_tiers(document_of_references(tmp_path / "a.eaf", references))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('TIME_VALUE="1000"', f'TIME_VALUE="{"9" * 400}"'), "OverflowError: integer division result too large"),
        (('TIME_SLOT_ID="2"', 'TIME_SLOT_ID="1"'), "time slot `1` is there twice"),
        (('TIME_SLOT_REF2="2"', 'TIME_SLOT_REF2="7"'), "the time slot '7' of annotation `a` is not in the document"),
        ((' TIME_VALUE="[^"]*"', ""), "the time slot '1' of annotation `a` has no time, nor has any other"),
    ],
)
def test_time_slots_that_cannot_be_are_an_error(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = edited(document_of_references(tmp_path / "a.eaf", {}), change)
    with pytest.raises(ManifestError, match=f"`.*a.eaf` cannot be read .*{message}"):
        read_tiers(path)


def test_no_annotation_ends_after_two_days(tmp_path: Path) -> None:
    path = edited(document_of_references(tmp_path / "a.eaf", {}), ('TIME_VALUE="1000"', f'TIME_VALUE="{"9" * 30}"'))
    with pytest.raises(ManifestError, match=r"annotation a of .* ends at 1e\+27 s, .* hours\n\nhint: at most 48 hours"):
        read_tiers(path)


def test_an_annotation_that_holds_the_id_of_a_word_of_its_vocabulary_has_that_word(tmp_path: Path) -> None:
    path = document_of_references(tmp_path / "a.eaf", {})
    vocabulary = '<CV_ENTRY_ML CVE_ID="w"><CVE_VALUE LANG_REF="eng">anger</CVE_VALUE></CV_ENTRY_ML>'
    edited(
        path,
        ('TIME_SLOT_REF2="2"', 'TIME_SLOT_REF2="2" CVE_REF="w"'),
        ("(?s)<ANNOTATION_VALUE.*?(/>|</ANNOTATION_VALUE>)", "<ANNOTATION_VALUE/>"),
        ("</ANNOTATION_DOCUMENT>", f"{vocabulary}</ANNOTATION_DOCUMENT>"),
    )
    assert [label for _, _, label in next(iter(tiers_of(path).values()))] == ["anger"]


@pytest.mark.parametrize("encoding", ["klingon", "utf-7", "idna"])
def test_a_document_in_an_encoding_that_nobody_knows_is_an_error(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.eaf").write_text(f'<?xml version="1.0" encoding="{encoding}"?><ANNOTATION_DOCUMENT/>')
    with pytest.raises(ManifestError, match=r"a\.eaf` cannot be read "):
        list(read_tiers(tmp_path / "a.eaf"))


def test_twenty_thousand_references_cost_in_proportion(tmp_path: Path) -> None:
    """A walk up for each of them took fifteen seconds."""
    names = ["a", *(f"b{number}" for number in range(20_000))]
    path = document_of_references(tmp_path / "a.eaf", dict(zip(names[:0:-1], names[-2::-1], strict=True)))
    started = process_time()
    assert len(tiers_of(path)["r"]) == 20_000
    assert process_time() - started < 3


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("start_s;end_s;label\r\n0,0;3,0;anger\r\n3,0;6,0;sad\r\n6,0;9,0;joy\r\n", "utf-8-sig"),
        ("start_s\tend_s\tlabel\n0\t3\tanger\n3\t6\tsad\n6\t9\tjoy\n", "utf-16"),
        ('"# a, b","",""\n"start_s","end_s","label"\n0,3,"anger"\n3,6,"sad"\n6,9,"joy"\n"","",""\n', "utf-8"),
    ],
)
def test_tables_are_read_as_people_save_them(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "thirds.txt"
    path.write_bytes(text.encode(encoding))
    assert tiers_of(path) == {"thirds": THIRDS}


def test_a_person_may_be_called_anything(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("person,start_s,end_s,label\n# Anna,0,1,anger\n'=1+1,0,1,sad\n$\\frac{$,0,1,joy\n")
    assert list(tiers_of(path)) == ["# Anna", "=1+1", "$\\frac{$"]


def test_a_row_without_a_label_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("start_s,end_s,label\n0,1,anger\n1,2\n2,3,\n")
    (tier,) = read_tiers(path)
    assert tier.left_out == ("annotations without a label of `a` in `a.csv`: 2 (line 3, line 4)",)


def test_labels_get_their_emotions_before_tiers_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("start_s,end_s,label\n0,1,WUT\n")
    (tier,) = read_tiers(path, label_map={"Wut": "anger"})
    assert tier.labels == {"anger"}
