"""What the README tells people to type works as it stands; only names of their files and sizes are replaced."""

import csv
import glob
import re
import shlex
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from cimeu.cli.main import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUICK = ["model.size=tiny", "training.epochs=1", "evaluation.probes=false", "data.workers=1"]
SMALLER = {
    "train": QUICK,
    "extract": ["--workers", "1"],
    "bench": [*QUICK, "--methods", "majority", "--seeds", "1", "--workers", "1"],
}
CULTURES = {"north": "german", "south": "english", "east": "urdu"}


def code_blocks(language: str = "") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def lines_that_start_with(word: str) -> list[str]:
    lines = [line.split("#")[0].strip() for block in code_blocks() for line in block.splitlines()]
    return [line for line in lines if line.startswith(word + " ")]


REAL_CULTURES = {"german": "german", "english": "north-american", "urdu": "pakistani"}
CLIPS_OF_A_KIND = 3


@pytest.fixture
def workplace(toy, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with RECORDINGS (a folder per culture and emotion) and interview.mp4: real ones where they are at hand,
    else drawn ones."""
    try:
        data: Path = request.getfixturevalue("trial_data")
    except pytest.skip.Exception:
        recordings, interview = drawn(toy.manifest.parent), toy.manifest.parent / "east" / "east01" / "anger_01.mp4"
    else:
        recordings, interview = real(data / "speech"), next((data / "video").glob("01-01-08-02-*.mp4"))
    for place, clip in recordings.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).symlink_to(clip)
    shutil.copy(interview, tmp_path / "interview.mp4")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def drawn(clips: Path) -> dict[str, Path]:
    """Drawn clips by where they lie in RECORDINGS."""
    return {
        f"RECORDINGS/{culture}/{clip.stem.split('_')[0]}/{clip.parent.name}.mp4": clip
        for source, culture in CULTURES.items()
        for clip in sorted(clips.glob(f"{source}/*/*.mp4"))
    }


def real(speech: Path) -> dict[str, Path]:
    """A few utterances of each culture and emotion by where they lie in RECORDINGS."""
    with (speech / "manifest.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = {source: culture for culture, source in REAL_CULTURES.items()}
    counts: Counter[tuple[str, str]] = Counter()
    chosen = {}
    for row in rows:
        kind = row["culture"], row["emotion"]
        if row["culture"] in names and counts[kind] < CLIPS_OF_A_KIND:
            counts[kind] += 1
            path = speech / row["path"]
            chosen[f"RECORDINGS/{names[row['culture']]}/{row['emotion']}/{path.name}"] = path
    return chosen


def test_the_readme_names_every_step() -> None:
    commands = [line.split()[1] for line in lines_that_start_with("cimeu")]
    assert commands == [
        *("weights", "predict"),
        *("prepare", "extract", "train", "evaluate", "report", "bench", "predict", "bundle"),
    ]


@pytest.mark.long
def test_the_commands_and_the_program_of_the_readme_run_in_order(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in lines_that_start_with("cimeu"):
        words = [found for word in shlex.split(line)[1:] for found in (sorted(glob.glob(word)) or [word])]
        monkeypatch.setattr(sys, "argv", ["cimeu", *words, *SMALLER.get(words[0], [])])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, f"{line}\n{capsys.readouterr().err}"
    assert sorted(run.name for run in Path("runs").iterdir()) == [
        *("cross-culture-speech-english-s0", "cross-culture-speech-german-s0", "cross-culture-speech-urdu-s0")
    ]
    for written in ("manifest.csv", "report.html", "bench/bench.json", "results/interview.html", "model.zip"):
        assert Path(written).is_file(), written

    (program,) = code_blocks("python")
    smaller = program.replace('"data.features=features/"]', f'"data.features=features/", *{QUICK}]')
    assert smaller != program
    exec(compile(smaller, "README.md", "exec"), {})
    assert Path("interview.eaf").is_file()


def test_every_target_the_readme_names_is_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {line.split()[1] for line in lines_that_start_with("make")} | set(re.findall(r"`make ([\w-]+)", README))
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_what_is_checked_on_a_fresh_machine_is_what_the_readme_promises() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    called = re.findall(r"^(?:make|passes) ([\w-]+)", script, re.MULTILINE)
    assert called == ["demo", "test-long", "test"]
    assert [line.split()[1] for line in lines_that_start_with("make")] == ["demo", "test"]
    assert "`make test-long` runs the few tests that `make test` leaves out" in README


def test_every_file_the_readme_points_to_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    named = re.findall(r"`((?:docs|benchmarks)/[\w/.]*|[A-Z]+\.(?:md|cff))`", README)
    absent = [path for path in (*links, *named) if not (ROOT / path).exists()]
    assert not absent
