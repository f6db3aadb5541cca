"""Whatever lies in a folder and however it is called: no command changes what was there before, ends with a traceback,
or says with status 0 that all was done when it was not."""

import contextlib
import io
import os
import sys
import tempfile
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cimeu.atomic import ROOM, beside, page_path
from cimeu.cli.main import main


def a_wav() -> bytes:
    sink = io.BytesIO()
    with wave.open(sink, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(b"\0\1" * 8_000)
    return sink.getvalue()


CONTENTS = [
    b"",
    b"\xff\xfe\x00\x01" * 20,
    b"start_s,end_s,label\n0,1,anger\n1,2,fear\n",
    b"start_s,end_s,label\n0,1,fear\n1,2,fear\n",
    b"clip_id,path,emotion,culture,speaker\na,a.wav,anger,x,s1\nb,b.wav,fear,y,s2\n",
    b"clip_id,label\na,anger\nb,fear\n",
    b'clip_id;label\r\na;"ang\r\ner"\r\n',
    b"<ANNOTATION_DOCUMENT><TIER/></ANNOTATION_DOCUMENT>",
    b"extends: toy/demo\nname: '{x}'\n",
    a_wav(),
]
LETTERS = st.sampled_from(["a", "Z", "表", "é", " ", ".", "'", '"', "$", "[/b]", "\n", "\udce9", "%s", "-", "=", "#"])
STEMS = st.one_of(
    st.sampled_from(["anna", "base.rater1", "report", "failures", "n" * 250]),
    st.lists(LETTERS, min_size=1, max_size=6).map("".join),
)
SUFFIXES = st.sampled_from(["", ".csv", ".eaf", ".html", ".json", ".wav", ".mp4", ".yaml", ".zip", ".CSV"])
NAMES = st.tuples(STEMS, SUFFIXES).map("".join).filter(lambda name: name.strip(".") and len(os.fsencode(name)) < 256)
WORLDS = st.dictionaries(
    st.one_of(NAMES, NAMES.map(lambda name: f"anger/{name}")), st.sampled_from(CONTENTS), min_size=1, max_size=5
)
Outputs = Callable[[Path], list[Path]]


def page_and(*suffixes: str) -> Outputs:
    """Files beside a page, by what -o names; `page_path` before the command made the folder."""
    return lambda page: [beside(page, suffix) for suffix in (".html", *suffixes)]


COMMANDS: dict[str, tuple[tuple[str, ...], Callable[[Path], list[Path]]]] = {
    "agree": (("agree", "{}", "{}"), lambda out: page_and(".csv", ".json")(page_path(out, "agreement"))),
    "prepare folder": (("prepare", "folder", "."), lambda out: [out]),
    "prepare csv": (("prepare", "csv", ".", "--csv", "{}"), lambda out: [out]),
    "score": (("score", "{}", "{}"), lambda out: [out / f"score.{suffix}" for suffix in ("csv", "json", "html")]),
    "recipes copy": (("recipes", "copy", "toy/demo"), lambda out: [out]),
    "audit": (("audit", "{}", "--workers", "1"), lambda out: [page_path(out, "audit")]),
    "train": (("train", "{}", "data.manifest={}"), lambda _: []),
    "evaluate": (("evaluate", "{}", "{}"), lambda _: []),
    "report": (("report", "{}"), lambda out: page_and(".md", ".tex", ".csv", ".json")(page_path(out, "report"))),
    "bundle": (("bundle", "{}"), lambda out: [out]),
    "extract": (("extract", "{}", "--encoder", "spectral", "--workers", "1"), lambda out: [out / "failures.csv"]),
    "adapt": (("adapt", "{}", "--target", "{}"), lambda out: [out / "adaptation.json"]),
    "bench": (("bench", "{}", "data.manifest={}", "--workers", "1"), lambda out: [out / "bench.html"]),
    "collect": (("collect", ".", "--participants", "{}"), lambda out: [out / "summary.html"]),
    "utterances": (("utterances", "{}", "{}"), lambda out: [out]),
    "overlap": (("overlap", "{}", "{}", "--workers", "1"), lambda out: [out]),
    "embed": (("embed", "{}", "--model", "{}"), lambda out: [out]),
    "submit": (("submit", "{}", "--format", "table"), lambda out: [out]),
    "prepare lists": (("prepare", "lists", ".", "--list", "test={}"), lambda out: [out]),
    "features import": (("features", "import", "{}", "--root", ".", "--encoder", "x"), lambda out: [out]),
}
WITHOUT_OUTPUT = ("train", "evaluate")


@contextlib.contextmanager
def in_a_folder(world: dict[str, bytes]) -> Iterator[Path]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, content in world.items():
            with contextlib.suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(content)
        os.chdir(root)
        try:
            yield root
        finally:
            os.chdir(before)


def files_below(root: Path) -> dict[str, bytes]:
    paths = (path for path in root.rglob("*") if path.is_file() and ROOM not in path.parts)
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def run(words: list[str]) -> tuple[int, str]:
    """Status and stderr of a command line; any other exception than SystemExit is the failure of the test."""
    said, error = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    argv, sys.argv = sys.argv, ["cimeu", *words]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(error), pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = argv
    error.flush()
    return int(ended.value.code or 0), error.buffer.getvalue().decode()


GOOD = {
    "anna.csv": CONTENTS[2],
    "ben.rater 2.csv": CONTENTS[3],
    "manifest.csv": CONTENTS[4],
    "predictions.csv": CONTENTS[5],
    "anger/[/b] $x.wav": a_wav(),
    "fear/é\n.wav": a_wav(),
    "a.wav": a_wav(),
    "b.wav": a_wav(),
}
"""Files with which commands succeed, unless their results would replace one of them."""
WORKING = {
    "agree": ("agree", "anna.csv", "ben.rater 2.csv"),
    "prepare folder": ("prepare", "folder", "."),
    "prepare csv": ("prepare", "csv", ".", "--csv", "manifest.csv"),
    "score": ("score", "predictions.csv", "manifest.csv"),
    "recipes copy": ("recipes", "copy", "toy/demo"),
}
OUTPUTS = ("new", "deep/new.er", "anna.csv", "anna.html", "ben.rater 2", "anger", "manifest.csv")


@pytest.mark.parametrize("name", WORKING)
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_command_that_can_work_does_all_or_changes_nothing(name: str, output: str) -> None:
    with in_a_folder(GOOD) as root:
        before, expected = files_below(root), COMMANDS[name][1](Path(output))
        status, said = run([*WORKING[name], "-o", output])
        after = files_below(root)
        assert {path: after.get(path) for path in before} == before
        places = {str(place) for path in expected for place in (path, path.parent)}
        taken = [place for place in places if place in before] + [str(path) for path in expected if path.is_dir()]
        assert status == (1 if taken else 0), said
        assert all(path in said for path in taken) if taken else all(path.is_file() for path in expected)


@settings(max_examples=5, derandomize=True, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
@given(data=st.data(), world=WORLDS)
def test_predict_changes_nothing_that_was_there(toy, data: st.DataObject, world: dict[str, bytes]) -> None:
    with in_a_folder(world | {"speech é [/b].wav": a_wav()}) as root:
        before = files_below(root)
        paths = data.draw(st.lists(st.sampled_from([*sorted(before), ".", "nosuch.mp4"]), min_size=1, max_size=2))
        output = data.draw(st.sampled_from([".", "new", "new.er/deep", sorted(before)[0]]))
        status, said = run(["predict", *(f"./{path}" for path in paths), "-o", output, "--model", str(toy.run)])
        after = files_below(root)
        assert {path: after.get(path) for path in before} == before
        assert "Traceback" not in said
        if status == 0:
            assert any(path.endswith(".json") for path in after.keys() - before.keys())


@pytest.mark.parametrize("name", COMMANDS)
@settings(
    max_examples=10,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data(), world=WORLDS)
def test_no_command_changes_what_was_there(name: str, data: st.DataObject, world: dict[str, bytes]) -> None:
    words, outputs = COMMANDS[name]
    with in_a_folder(world) as root:
        before = files_below(root)
        inputs = st.sampled_from([*sorted(before), "nosuch.csv"])
        line = [word.replace("{}", data.draw(inputs)) for word in words]
        output = data.draw(st.one_of(st.sampled_from(sorted(before)), NAMES, st.just("new/out.csv")))
        expected = outputs(Path(output))
        status, said = run([*line, *([] if name in WITHOUT_OUTPUT else ["-o", output])])
        after = files_below(root)
        assert {path: after.get(path) for path in before} == before
        assert "Traceback" not in said
        assert status in (0, 1, 2, 3)
        if status == 0:
            assert [path for path in expected if not path.exists()] == []


NO_FILES = {
    "agree": ("agree", "pipe.csv", "pipe.csv"),
    "score": ("score", "pipe.csv", "pipe.csv"),
    "audit": ("audit", "pipe.csv"),
    "train": ("train", "pipe.csv"),
    "report": ("report", "run"),
    "predict": ("predict", "./pipe.csv"),
    "prepare": ("prepare", "lists", ".", "--list", "test=pipe.csv"),
}


@pytest.mark.parametrize("words", NO_FILES.values(), ids=NO_FILES)
def test_a_pipe_is_named_as_one(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    for path in ("pipe.csv", "run/predictions.csv"):
        os.mkfifo(path)
    status, said = run([*words])
    assert status == 1
    assert ".csv` is a pipe, not a regular file" in said


OPTIONS = {
    "agree": ("--tier", "--second-tier", "--grid", "--iou", "--ratings", "--label-map", "--also"),
    "prepare csv": ("--column", "--label-map", "--name", "--list", "--task", "--strength"),
    "score": ("--labels", "--group", "--against", "--trained-on"),
}
VALUES = [
    "",
    "-1",
    "nan",
    "inf",
    "1e308",
    "１",
    "=",
    "a=b=c",
    "\udce9",
    "x\n",
    "../x",
    "/",
    ".",
    ",",
    "n" * 300,
    "[1",
    "a.wav",
]


@settings(max_examples=12, derandomize=True, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
@given(data=st.data(), name=st.sampled_from(sorted(OPTIONS)))
def test_whatever_an_option_is_given_nothing_is_lost_and_nothing_else_is_said_than_why(
    data: st.DataObject, name: str
) -> None:
    given_options = data.draw(st.dictionaries(st.sampled_from(OPTIONS[name]), st.sampled_from(VALUES), min_size=1))
    with in_a_folder(GOOD) as root:
        before, expected = files_below(root), COMMANDS[name][1](Path("new"))
        words = [word for pair in given_options.items() for word in pair]
        status, said = run([*WORKING[name], "-o", "new", *words])
        after = files_below(root)
        assert {path: after.get(path) for path in before} == before
        assert "Traceback" not in said
        if status == 0 and "--ratings" not in given_options:
            assert all(path.is_file() for path in expected), (given_options, said)
        assert status == 0 or said
