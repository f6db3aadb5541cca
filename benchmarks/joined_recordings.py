"""What `cimeu predict --style` is worth in recordings: clips of one speaker joined, by how their emotions are mixed.

    python benchmarks/joined_recordings.py DATA [--features FOLDER] [--speakers N]
    python benchmarks/joined_recordings.py DATA --run RUN [--alone RUN] [--speakers N]

DATA holds the manifests of the recipe `starter/voice`. Each culture is recognised by a model that was trained on the
others with the shipped rule. Mixes of twelve clips, with pauses between them: `even`, `neutral` (eight neutral clips)
and `single` (one emotion, each in a recording of its own). A clip's answer is the mean over the stretches inside it.
The last lines say how close a clip inside a recording is to the same clip by itself.

With RUN, test clips of that run (trained with `training.supports=true`) are joined and recognised by it; DATA is then
the folder of its manifest. `--alone` is the same run without supports, for the column of that name.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cimeu.corpora.manifest import read_manifest
from cimeu.evaluation.predict import EnsembleSettings
from cimeu.evaluation.uncertainty import Estimates, bootstrap, compared
from cimeu.experiments.held_out import HeldOut
from cimeu.experiments.starter import embedded, load_starter
from cimeu.inference.model_store import STARTER
from cimeu.inference.recogniser import LoadedRun, Recogniser
from cimeu.inference.side_by_side import SideBySide
from cimeu.media.audio import RATE_HZ, read_sound, write_sound
from cimeu.model.style_set import StyleSet
from cimeu.training.style_set import StyleRule

CLIPS, PAUSES_S, NEUTRAL = 12, (0.3, 0.8), 8
MIXES = ("even", "neutral", "single")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--features", type=Path, default=Path("features"))
    parser.add_argument("--speakers", type=int, default=6)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--alone", type=Path)
    arguments = parser.parse_args()
    if arguments.run:
        measure_run(arguments.data, arguments.run, arguments.alone, arguments.speakers)
        return
    recipe = load_starter("starter/voice", [f"data.root={arguments.data}", f"data.features={arguments.features}"])
    clips, table, description = embedded(recipe)
    paths = located(recipe.data.root, recipe.data.manifests, table)
    shipped = StyleSet.from_pretrained(STARTER / "forward").config
    rule = StyleRule(shrink=shipped.shrink, mix_prior=shipped.mix_prior, passes=shipped.passes)
    judged, rows, apart = HeldOut(clips), [], []
    for group in clips.groups:
        model = judged.fit([name for name in clips.groups if name != group]).model(rule)
        model.specifications.first_encoder.update(description)
        for mix in MIXES:
            for number, (speaker, chosen) in enumerate(drawn(table, clips.of(group), mix, arguments.speakers)):
                models = {style: loaded(model, style) for style in ("none", "recording")}
                for style, answers in recognised(models, paths, chosen, number).items():
                    for clip, answer in answers.items():
                        rows.append((group, mix, style, speaker, clips.emotion[clip], int(answer.argmax())))
                        if style == "none":
                            apart.append(np.abs(answer - alone(model, clips.x[clip])).max())
    show(rows)
    print(f"clip in a recording against the clip alone: mean largest difference of a probability {np.mean(apart):.3f}")


def measure_run(data: Path, run: Path, without: Path | None, speakers: int) -> None:
    """Print what a style is worth in recordings of the clips that a run did not see."""
    manifest = read_manifest(data / "manifest.csv")
    test = manifest.select(json.loads((run / "fold.json").read_text())["test"])
    table, paths = test.table.reset_index(drop=True), [clip.path for clip in test.clips()]
    models = {style: Recogniser.from_pretrained(run, style=style) for style in ("none", "recording")}
    if without:
        models["alone"] = Recogniser.from_pretrained(without, style="none")
    emotions, rows = list(models["none"].emotions), []
    for mix in MIXES:
        inside = table["emotion"].isin(emotions).to_numpy()
        for number, (speaker, chosen) in enumerate(drawn(table, inside, mix, speakers)):
            for style, answers in recognised(models, paths, chosen, number).items():
                for clip, answer in answers.items():
                    truth = emotions.index(table["emotion"][clip])
                    rows.append((run.name, mix, style, speaker, truth, int(answer.argmax())))
    show(rows)


def show(rows: list[tuple[object, ...]]) -> None:
    """Print UAR of each mix and scope, and the gain of `recording` over each other with its interval over speakers."""
    found = pd.DataFrame(rows, columns=["group", "mix", "style", "speaker", "emotion", "answer"])
    for (group, mix), part in found.groupby(["group", "mix"], sort=False):
        figures = {name: figures_of(each) for name, each in part.groupby("style", sort=False)}
        words = [f"{name} {100 * each.mean.value:.1f}" for name, each in figures.items()]
        for name, each in figures.items():
            if name != "recording":
                gain = compared(each, figures["recording"])
                low, high = 100 * gain.low, 100 * gain.high
                words.append(f"recording against {name} {100 * gain.value:+.1f} [{low:+.1f}, {high:+.1f}]")
        n_speakers = part["speaker"].nunique()
        print(f"{group} {mix}: {', '.join(words)}; N {len(part) // len(figures)} of {n_speakers} speakers", flush=True)


def figures_of(part: pd.DataFrame) -> Estimates:
    """UAR of one mix and scope."""
    truth, answers = (part[name].to_numpy(np.int64) for name in ("emotion", "answer"))
    n_classes = int(max(truth.max(), answers.max())) + 1
    return bootstrap(truth, answers[None], list(part["speaker"]), list(part["group"]), n_classes=n_classes)["uar"]


def located(root: Path, manifests: tuple[Path, ...], table: pd.DataFrame) -> list[Path]:
    """File of each row; paths are below the folder of their manifest."""
    folders = [(root / manifest).parent for manifest in manifests]
    return [next(folder / path for folder in folders if (folder / path).is_file()) for path in table["path"]]


def drawn(table: pd.DataFrame, inside: np.ndarray, mix: str, most: int) -> list[tuple[str, list[int]]]:
    """Speakers who can fill the mix, and the places of their clips in the order of a recording."""
    generator, recordings = np.random.default_rng(0), []
    for speaker in sorted(set(table["speaker"][inside]))[:most]:
        own = {
            e: np.flatnonzero(inside & (table["speaker"] == speaker) & (table["emotion"] == e))
            for e in set(table["emotion"][inside])
        }
        wanted: list[dict[str, int]] = [dict.fromkeys(own, CLIPS // len(own))]
        if mix == "neutral":
            wanted = [{e: NEUTRAL if e == "neutral" else 1 for e in own}]
        elif mix == "single":
            wanted = [{e: min(CLIPS, len(own[e]))} for e in own if len(own[e]) >= CLIPS // 2]
        for counts in wanted:
            if all(len(own[emotion]) >= count for emotion, count in counts.items()):
                places = np.concatenate([generator.choice(own[e], n, replace=False) for e, n in counts.items()])
                recordings.append((speaker, generator.permutation(places).tolist()))
    return recordings


def loaded(model: StyleSet, style: str) -> Recogniser:
    """A recogniser with a model that is not kept."""
    return Recogniser(LoadedRun(model, EnsembleSettings(directions=("forward",)), "benchmark"), style=style)


def recognised(
    models: dict[str, Recogniser], paths: list[Path], chosen: list[int], seed: int
) -> dict[str, dict[int, np.ndarray]]:
    """Mean answer for each clip of a joined recording, by name of the model."""
    generator, parts, spans, at = np.random.default_rng(seed), [], {}, 0
    for clip in chosen:
        samples = read_sound(paths[clip])
        pause = (1e-4 * generator.standard_normal(round(generator.uniform(*PAUSES_S) * RATE_HZ))).astype(np.float32)
        spans[clip] = at / RATE_HZ, (at + len(samples)) / RATE_HZ
        parts += [samples, pause]
        at += len(samples) + len(pause)
    answers: dict[str, dict[int, np.ndarray]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "joined.flac"
        write_sound(path, np.concatenate(parts))
        together = SideBySide(list(models.values()))  # read once
        for style, recogniser in models.items():
            series = together(recogniser, path).series or ()
            said = {(window.start_s + window.end_s) / 2: np.array(window.scores) for window in series if window.scores}
            for clip, (start_s, end_s) in spans.items():
                near = [answer for middle, answer in said.items() if start_s <= middle < end_s]
                if near:
                    answers.setdefault(style, {})[clip] = np.mean(near, axis=0)
    return answers


def alone(model: StyleSet, x: np.ndarray) -> np.ndarray:
    """Probabilities of a clip by itself."""
    with torch.inference_mode():
        return model(torch.from_numpy(x[None])).softmax(-1).numpy()[0]


if __name__ == "__main__":
    main()
