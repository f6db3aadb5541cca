"""Transcripts as other programs write them, and one answer for each of their stretches."""

from pathlib import Path

import pandas as pd
import pytest
import webvtt
from pympi import Elan, Praat

from cimeu.errors import ManifestError
from cimeu.timeline.segments import CONTINUOUS_CAUTION
from cimeu.timeline.study.transcripts import Utterance, read_utterances
from cimeu.timeline.study.utterances import answer_utterances, write_answers

from .conftest import ResultMaker

SAID = [Utterance("", 0.5, 1.5, "well then"), Utterance("", 2.0, 3.25, 'he said "no"')]


def of_tier(name: str) -> list[Utterance]:
    return [Utterance(name, said.start_s, said.end_s, said.text) for said in SAID]


def test_subrip_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text(
        "\ufeff1\r\n00:00:00,500 --> 00:00:01,500\r\n<i>well</i>\r\nthen\r\n\r\n"
        '2\r\n00:00:02,000 --> 00:00:03,250\r\nhe said "no"\r\n\r\n3\r\n00:00:04,000 --> 00:00:05,000\r\n\r\n'
    )
    assert read_utterances(path) == SAID


def test_subrip_as_it_is_found_loses_no_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.srt"
    path.write_text(
        "1\n00:00:01,000 --> 00:00:02,000 X1:40 X2:600\none\n2\n00:00:03,000 --> 00:00:04,000\n{\\an8}two <laughs>\n\n"
        "after an empty line\n\n3\n-00:00:02,000 --> -00:00:01,000\nbefore\n\n4\n00:00:06,000 --> 00:00:05,000\nback\n"
    )
    assert [(said.start_s, said.text) for said in read_utterances(path)] == [
        (1.0, "one"),
        (3.0, "two <laughs> after an empty line"),
    ]
    assert "2 of 4 stretches with words are left out, such as `before` from -2 to -1 s" in caplog.text


def test_notes_and_names_of_webvtt_cues_are_no_words(tmp_path: Path) -> None:
    path = tmp_path / "a.vtt"
    path.write_text(
        "WEBVTT - x\n\nNOTE 00:00.000 --> 00:09.000\nnot said\n\nSTYLE\n::cue { color: red }\n\nopening\n"
        "00:01.000 --> 00:02.000 align:start position:10%\n<v.loud Anna>a &lt; <c.x>b</c>\n\nthe end\n"
        "00:03.000 --> 00:04.000\nc\n"
    )
    assert read_utterances(path) == [Utterance("Anna", 1.0, 2.0, "a < b"), Utterance("", 3.0, 4.0, "c")]


def test_a_line_of_a_cue_may_begin_as_a_note_does(tmp_path: Path) -> None:
    path = tmp_path / "a.vtt"
    path.write_text(
        "WEBVTT\n\nNOTE one\n\nNOTE\ntwo\n\n00:01.000 --> 00:02.000\nhello\nNOTE THE DATE\nplease\n \nNOTE not said\n"
        "nor this\n\n00:03.000 --> 00:04.000\nNOTE well\n\nNOTE end"
    )
    assert [said.text for said in read_utterances(path)] == ["hello NOTE THE DATE please", "NOTE well"]


def test_numbers_that_are_said_are_words(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text("00:00:01,000 --> 00:00:02,000\nin\n1984\n00:00:03,000 --> 00:00:04,000\nten\n")
    assert [said.text for said in read_utterances(path)] == ["in 1984", "ten"]
    path.write_text("by me\n\n1\n00:00:01,000 --> 00:00:02,000\n7\n\n2\n\n00:00:03,000 --> 00:00:04,000\n8\n9\n")
    assert [said.text for said in read_utterances(path)] == ["7", "8 9"]


@pytest.mark.parametrize(("suffix", "start"), [(".srt", ""), (".vtt", "WEBVTT\r\r\n\r\r\n")])
@pytest.mark.parametrize("end", ["\r\r\n", "\r\n", "\r", "\n"])
def test_lines_may_end_as_they_like(tmp_path: Path, suffix: str, start: str, end: str) -> None:
    lines = ["1", "00:00:01,000 --> 00:00:02,000", "Hello", "", "2", "00:00:03,000 --> 00:00:04,000", "you", ""]
    path = tmp_path / f"a{suffix}"
    path.write_bytes((start + end.join(lines)).encode())
    assert [said.text for said in read_utterances(path)] == ["Hello", "you"]


def test_double_spaced_subrip_keeps_its_numbers_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text(
        "\n\n".join(["1", "00:00:01,000 --> 00:00:02,000", "Hello", "", "2", "00:00:03,000 --> 00:00:04,000", "you"])
    )
    assert [said.text for said in read_utterances(path)] == ["Hello", "you"]


def test_marks_of_subrip_are_no_words(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    words = "a<br />b <c.red>c</c> <EM>d</EM> <00:00:01.500>e <laughs> {\\an8}f <font color='red'>g</font> 1 < 2"
    path.write_text(f"1\n00:00:01,000 --> 00:00:02,000\n{words}\n")
    assert [said.text for said in read_utterances(path)] == ["a b c d e <laughs> f g 1 < 2"]


def test_marks_that_nobody_closed_take_no_time(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text("1\n00:00:01,000 --> 00:00:02,000\n" + "<b " * 50_000 + "<v " * 50_000 + "<" + "1." * 50_000)
    (said,) = read_utterances(path)
    assert said.text.startswith("<b <b")


def test_webvtt_of_another_program_is_read_with_its_speakers(tmp_path: Path) -> None:
    vtt = webvtt.WebVTT()
    for said in SAID:
        times = [f"00:00:{time_s:06.3f}" for time_s in (said.start_s, said.end_s)]
        vtt.captions.append(webvtt.Caption(*times, f"<v Anna>{said.text}</v>"))
    vtt.save(str(tmp_path / "a.vtt"))
    assert read_utterances(tmp_path / "a.vtt") == of_tier("Anna")


@pytest.mark.parametrize("mode", ["normal", "short"])
def test_a_textgrid_of_another_program_is_read(tmp_path: Path, mode: str) -> None:
    grid = Praat.TextGrid(xmin=0.0, xmax=5.0)
    tier = grid.add_tier("Anna")
    for said in SAID:
        tier.add_interval(said.start_s, said.end_s, said.text)
    grid.add_tier("Ben").add_interval(1.0, 2.0, "yes")
    grid.to_file(str(tmp_path / "a.TextGrid"), mode=mode)
    assert read_utterances(tmp_path / "a.TextGrid", "Anna") == of_tier("Anna")
    assert [said.text for said in read_utterances(tmp_path / "a.TextGrid", "Ben")] == ["yes"]


def test_elan_keeps_words_as_they_are(tmp_path: Path) -> None:
    document = Elan.Eaf(author="somebody")
    document.add_tier("Anna")
    for said in SAID:
        document.add_annotation("Anna", round(1000 * said.start_s), round(1000 * said.end_s), said.text)
    document.to_file(str(tmp_path / "a.eaf"))
    assert read_utterances(tmp_path / "a.eaf", "Anna") == of_tier("Anna")


def test_a_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('start_s;end_s;text\n0,5;1,5;well then\n2;3,25;"he said ""no"""\n')
    assert read_utterances(path) == SAID


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.docx", "x", r"holds no utterances that can be read\n\nhint: one of \.srt"),
        ("a.srt", "1\n00:00:0x,5 --> 2\nhello\n", r"holds no stretch with words"),
        ("a.srt", "1\n::1 --> 2\nhello\n", r"has the times `::1 --> 2`"),
        ("a.TextGrid", "no grid", r"is not a TextGrid, or breaks off"),
        ("a.vtt", "WEBVTT\n", r"holds no stretch with words"),
    ],
)
def test_what_is_no_transcript_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ManifestError, match=message):
        read_utterances(tmp_path / name)


def test_an_unknown_tier_names_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("start_s,end_s,text,tier\n0,1,hello,Anna\n")
    with pytest.raises(ManifestError, match=r"has no tier `Ben`\n\nhint: its tiers are 'Anna'"):
        read_utterances(tmp_path / "a.csv", "Ben")


def test_an_utterance_has_the_mean_of_its_windows_weighted_by_shared_time(
    make_result: ResultMaker, tmp_path: Path
) -> None:
    rows = [(0.1, 0.8, 0.1), (0.9, 0.0, 0.1), (0.4, 0.3, 0.3), None]
    results = make_result("a", {"person 1": rows, "person 2": [None] * 2})
    (tmp_path / "a.csv").write_text("start_s,end_s,text\n0,0.75,so\n1,1.5,hm\n1.25,2,yes\n1.5,2,ah\n")
    measures, answers = answer_utterances(results / "a.series.parquet", tmp_path / "a.csv")
    write_answers(measures, answers, tmp_path / "out.csv")
    table = pd.read_csv(tmp_path / "out.csv", keep_default_na=False).set_index(["text", "person"])
    first = table.loc["so", "person 1"]
    # Half a second of the first window and a quarter of the second.
    assert float(first["score.happiness"]) == pytest.approx(2 / 3 * 0.8, abs=1e-4)
    assert (first["label"], float(first["share.scored"])) == ("happiness", 1.0)
    assert table.loc["so", "person 2"][["label", "reason"]].tolist() == ["", "nothing could be scored"]
    assert table.loc["hm", "person 1"][["label", "abstain", "reason"]].tolist() == ["", True, "unsure"]
    assert float(table.loc["yes", "person 1"]["share.scored"]) == pytest.approx(1 / 3, abs=1e-4)
    assert table.loc["ah", "person 1"][["label", "confidence"]].tolist() == ["", ""]
    assert ("hm", "person 2") not in table.index


def test_an_utterance_that_nobody_can_answer_has_a_row_with_the_reason(
    make_result: ResultMaker, tmp_path: Path
) -> None:
    results = make_result("a", {"voice": [(0.1, 0.8, 0.1)] * 2})
    (tmp_path / "a.csv").write_text("start_s,end_s,text\n0,0.75,so\n100,101,late\n")
    _, answers = answer_utterances(results / "a.series.parquet", tmp_path / "a.csv")
    assert [(answer.utterance.text, answer.person, answer.reason) for answer in answers] == [
        ("so", "voice", ""),
        ("late", "", "after the end of the recording"),
    ]


def test_a_transcript_of_another_recording_is_named(make_result: ResultMaker, tmp_path: Path) -> None:
    results = make_result("a", {"voice": [(0.1, 0.8, 0.1)]})
    (tmp_path / "a.csv").write_text("start_s,end_s,text\n100,101,late\n")
    with pytest.raises(ManifestError, match=r"no utterance of .* lies in .*\n\nhint: are both about the same"):
        answer_utterances(results / "a.series.parquet", tmp_path / "a.csv")
    with pytest.raises(ManifestError, match=r"is not a series\n\nhint: give `NAME\.series\.parquet`"):
        answer_utterances(results / "a.csv", tmp_path / "a.csv")


def test_an_utterance_has_the_weighted_mean_of_valence_where_it_could_be_read(
    make_result: ResultMaker, tmp_path: Path
) -> None:
    results = make_result("a", {"voice": [(0.2, 0.6, 0.2)] * 4}, valence=[0.2, None, 0.6, None])
    (tmp_path / "a.csv").write_text("start_s,end_s,text\n0,1.25,well\n1.5,2,then\n")
    measures, answers = answer_utterances(results / "a.series.parquet", tmp_path / "a.csv")
    path = write_answers(measures, answers, tmp_path / "out.csv")
    # 0.5 s of 0.2 and 0.25 s of 0.6; then a window without a value.
    assert pd.read_csv(path, comment="#")["value.valence"].tolist() == [
        pytest.approx(1 / 3, abs=1e-4),
        pytest.approx(float("nan"), nan_ok=True),
    ]
    assert path.read_text().startswith(f"# valence: {CONTINUOUS_CAUTION}\n")
