"""The published job on a miniature DFEW: the commands of the guide as they stand, on really encoded clips.

Replaced are paths, sizes (a tiny network, one epoch, a tiny VideoMAE V2 with random weights in the official layout) and
the published counts, which become those of the miniature.
"""

import glob
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from cimeu.cli.main import main
from cimeu.corpora.adapters import dfew
from cimeu.encoders import videomae
from cimeu.media.audio import RATE_HZ
from cimeu.media.video import resized, write_video

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "published.md").read_text(encoding="utf-8")
WEIGHTS = "vit_g_hybrid_pt_1200e_k710_ft.pth"
TINY = videomae.VideoMAESize(width=384, depth=1, heads=6, feed_forward=32, patch=56)
QUICK = ["model.size=tiny", "training.epochs=1", "training.batch_size=14", "data.workers=1"]
SMALLER = {"train": QUICK, "extract": ["--workers", "1"], "audit": ["--workers", "1"]}
CLIPS = 35
Run = Callable[[str], str]


def commands(heading: str) -> list[str]:
    """Lines of the first block below a heading of the guide."""
    _, _, below = GUIDE.partition(f"## {heading}\n")
    found = re.search(r"^```\n(.*?)^```", below, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1].splitlines()


def write_lists(root: Path) -> None:
    """Clip n shows emotion n mod 7 and is tested in fold n div 7; every second name has leading zeros."""
    for fold in range(1, 6):
        for part in ("train", "test"):
            path = root / "EmoLabel_DataSplit" / f"{part}(single-labeled)" / f"set_{fold}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            inside = [n for n in range(CLIPS) if (n // 7 + 1 == fold) == (part == "test")]
            names = [f"{n + 1:05d}" if n % 2 else str(n + 1) for n in inside]
            lines = [f"{name},{n % 7 + 1}" for name, n in zip(names, inside, strict=True)]
            path.write_text("\n".join(["video_name,label", *lines]) + "\n")


def write_clips(root: Path) -> None:
    """A face that moves, and a voice of tones, other ones in each clip."""
    (root / "Clip" / "original").mkdir(parents=True)
    face = resized(astronaut()[:240, 100:340], 96, 96)
    time_s = np.arange(int(0.72 * RATE_HZ)) / RATE_HZ
    for n in range(CLIPS):
        generator = np.random.default_rng(n)
        frames = [np.roll(face, int(3 * np.sin(n + k / 3)), axis=1) for k in range(18)]
        tones = sum(np.sin(2 * np.pi * tone * time_s ** (1 + n / 99)) for tone in generator.uniform(150, 3000, 5)) / 15
        write_video(root / "Clip" / "original" / f"{n + 1}.mp4", frames, rate_hz=25, samples=tones.astype(np.float32))


def write_weights(path: Path) -> None:
    """A random VideoMAE V2 as the authors pack a fine-tuned one."""
    generator = torch.Generator().manual_seed(0)
    width, hidden = TINY.width, TINY.feed_forward
    block = {
        **{f"norm{n}.{kind}": (width,) for n in (1, 2) for kind in ("weight", "bias")},
        "attn.q_bias": (width,),
        "attn.v_bias": (width,),
        "attn.qkv.weight": (3 * width, width),
        "attn.proj.weight": (width, width),
        "attn.proj.bias": (width,),
        "mlp.fc1.weight": (hidden, width),
        "mlp.fc1.bias": (hidden,),
        "mlp.fc2.weight": (width, hidden),
        "mlp.fc2.bias": (width,),
    }
    shapes = {
        "patch_embed.proj.weight": (width, 3, 2, TINY.patch, TINY.patch),
        "patch_embed.proj.bias": (width,),
        "fc_norm.weight": (width,),
        "fc_norm.bias": (width,),
        **{f"blocks.0.{name}": shape for name, shape in block.items()},
        "head.weight": (710, width),
        "head.bias": (710,),
    }
    tensors = {name: torch.randn(shape, generator=generator) / 10 for name, shape in shapes.items()}
    torch.save({"module": tensors}, path)


@pytest.fixture
def miniature(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"clips": CLIPS, **dict.fromkeys(dfew.EMOTIONS.values(), 5), **{f"fold {n}": 7 for n in range(1, 6)}}
    for what, count in counts.items():
        monkeypatch.setitem(dfew.COUNTS, what, count)
    monkeypatch.setitem(videomae.SIZES, "giant", TINY)


@pytest.fixture
def run(miniature: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a line of the guide in an empty folder; what it said on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIMEU_WEIGHTS", str(tmp_path / "none"))

    def run(line: str) -> str:
        assert line.startswith("cimeu "), line
        line = line.replace("/data/DFEW", str(tmp_path / "DFEW"))
        words = [found for word in shlex.split(line)[1:] for found in (sorted(glob.glob(word)) or [word])]
        monkeypatch.setattr(sys, "argv", ["cimeu", *words, *SMALLER.get(words[0], [])])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert not ended.value.code, f"{line}\n{said.err}"
        return said.err

    return run


@pytest.mark.long
def test_the_published_job_from_recordings_to_its_table(run: Run, tmp_path: Path) -> None:
    write_lists(tmp_path / "DFEW")
    write_clips(tmp_path / "DFEW")
    write_weights(tmp_path / WEIGHTS)
    prepare, audit, extract, train, train_all, report = commands("The commands")

    said = run(prepare)
    assert "35 clips" in said
    assert "published `fold`: 1 7, 2 7, 3 7, 4 7, 5 7" in said
    assert "counts are the published ones" in said

    said = run(audit)
    assert "35 clips" in said
    assert "error" not in said

    assert "35 clips computed" in run(extract)
    (tmp_path / WEIGHTS).unlink()  # training needs the features alone

    said = run(train)
    assert "ORACLE" in said
    assert [path.name for path in Path("runs").iterdir()] == ["dfew-published-5-s0"]
    before = Path("runs/dfew-published-5-s0/predictions.csv").stat().st_mtime_ns
    run(train_all)
    assert sorted(path.name for path in Path("runs").iterdir()) == [f"dfew-published-{n}-s0" for n in range(1, 6)]
    assert Path("runs/dfew-published-5-s0/predictions.csv").stat().st_mtime_ns == before

    run(report)
    page, found = Path("dfew-report.html").read_text(), json.loads(Path("dfew-report.json").read_text())
    assert [line["name"] for line in found["folds"]["lines"]] == ["1", "2", "3", "4", "5"]
    assert found["folds"]["models"] == ["forward", "backward", "fused"]
    assert set(found["folds"]["deviation"]) == {"forward", "backward", "fused"}
    assert "62.28" in page  # PTH-Net, fused
    assert "speakers unknown" in page
    assert page.count("ORACLE") > 5


def test_the_published_job_from_arrays_without_recordings(run: Run, tmp_path: Path) -> None:
    write_lists(tmp_path / "DFEW")
    generator = np.random.default_rng(0)
    for direction in ("forward", "backward"):
        lines = []
        for n in range(CLIPS):
            path = tmp_path / "arrays" / direction / "Clip" / "clip_224x224" / f"{n + 1:05d}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, generator.normal(size=(2 + n % 3, 12)).astype(np.float32))
            lines.append(f"Clip/clip_224x224/{n + 1:05d}.npy {2 + n % 3} {n % 7}")
        (tmp_path / "list.txt").write_text("\n".join(lines) + "\n")
    for line in commands("Features made elsewhere"):
        said = run(line)
    assert "ORACLE" in said
    predictions = Path("runs/dfew-published-5-s0/predictions.csv").read_text().splitlines()
    assert len(predictions) == 1 + 7
    assert "missing file" not in "".join(predictions)
