"""How much a plain classifier loses on a toy culture it has not seen, by the strength of culture.

    python benchmarks/toy_culture_strength.py build/toy --strengths 0 0.5 1 --seeds 0 1

Draws a toy corpus (synthetic) per strength and seed, encodes face (`hog`) and voice (`spectral`), pools each over time
(mean, deviation, second half minus first), and fits a logistic regression on the principal components of each stream;
`fused` averages the two probabilities. Nothing is tuned. UAR in per cent, mean over cultures and seeds:

- alone: trained on other speakers of the same culture only
- seen: trained on other speakers of all four cultures
- held out: trained on the other three cultures
- drop: seen minus held out
"""

import argparse
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cimeu.corpora.folds import FoldsConfig, Protocol, make_folds
from cimeu.corpora.manifest import Clip, Manifest
from cimeu.corpora.toy.corpus import TOY_VERSION, ToyConfig, make_toy
from cimeu.encoders.encoding import encode
from cimeu.encoders.registry import build_encoder
from cimeu.media.clips import SoundSettings, read_clip_sound, scaled_down_to
from cimeu.media.face_tracks import track_faces
from cimeu.media.faces import DEFAULT_DETECTOR, DETECTORS
from cimeu.media.regions import MainFace
from cimeu.media.video import FRAME_RATE_HZ, frames

STREAMS = ("hog", "spectral")
PROTOCOLS: dict[str, Protocol] = {
    "alone": "within-group",
    "seen": "speaker-independent",
    "held out": "leave-one-group-out",
}


def pooled(clip: Clip) -> list[np.ndarray]:
    """One vector per stream: mean, deviation, and second half minus first, over the windows of a clip."""
    face = MainFace(64, "area", FRAME_RATE_HZ)
    decoded = frames(clip.path, rate_hz=FRAME_RATE_HZ, max_side=scaled_down_to(64, "area"))
    for tracked in track_faces(decoded, DETECTORS[DEFAULT_DETECTOR]()):
        face.see(tracked)
    samples, why_silent = read_clip_sound(clip.path, 0.0, None, SoundSettings())
    problem = face.settle() or why_silent
    assert samples is not None and not problem, f"{clip.clip_id}: {problem}"  # noqa: PT018
    crops = np.stack([crop for crop, n in face.crops() for _ in range(n)])
    vectors = []
    for name, source in zip(STREAMS, (crops, samples), strict=True):
        steps = encode(build_encoder(name), source, "forward")
        half = (len(steps) + 1) // 2
        vectors.append(np.concatenate([steps.mean(0), steps.std(0), steps[-half:].mean(0) - steps[:half].mean(0)]))
    return vectors


def recalls(manifest: Manifest, features: list[np.ndarray], protocol: Protocol) -> dict[str, float]:
    """UAR of each stream and of both, over all predictions of a culture, mean over cultures."""
    emotions, cultures = manifest.table["emotion"].to_numpy(), manifest.table["culture"].to_numpy()
    place = {clip_id: row for row, clip_id in enumerate(manifest.table["clip_id"])}
    predicted = {name: np.empty(len(manifest), dtype=object) for name in (*STREAMS, "fused")}
    for fold in make_folds(manifest, FoldsConfig(protocol=protocol, n_folds=4)):
        train = [place[clip_id] for clip_id in fold.train + fold.validation]
        test = [place[clip_id] for clip_id in fold.test]
        scores = []
        for name, vectors in zip(STREAMS, features, strict=True):
            model = make_pipeline(
                StandardScaler(),
                PCA(min(100, len(train) // 3), random_state=0),
                StandardScaler(),
                LogisticRegression(C=0.03, max_iter=500),
            ).fit(vectors[train], emotions[train])
            scores.append(model.predict_proba(vectors[test]))
            predicted[name][test] = model.classes_[scores[-1].argmax(1)]
        predicted["fused"][test] = model.classes_[sum(scores).argmax(1)]
    return {
        name: 100 * float(np.mean([
            balanced_accuracy_score(emotions[cultures == culture], values[cultures == culture].astype(str))
            for culture in sorted(set(cultures))
        ]))
        for name, values in predicted.items()
    }  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--strengths", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    arguments.add_argument("--speakers", type=int, default=8)
    arguments.add_argument("--takes", type=int, default=4)
    arguments.add_argument("--processes", type=int, default=2)
    given = arguments.parse_args()
    columns = (*PROTOCOLS, "drop")
    print(f"toy corpus version {TOY_VERSION} (synthetic), seeds {given.seeds}; UAR in per cent\n")
    print("| strength | N | stream | " + " | ".join(columns) + " |")
    print("|---" * (3 + len(columns)) + "|", flush=True)
    for strength in given.strengths:
        seeds = []
        for seed in given.seeds:
            config = ToyConfig(
                seed=seed, culture_strength=strength, speakers_per_culture=given.speakers, takes=given.takes
            )
            manifest = make_toy(config, given.folder / f"strength_{strength:g}_seed_{seed}")
            rows = Parallel(given.processes)(delayed(pooled)(clip) for clip in manifest.clips())
            features = [np.stack(vectors) for vectors in zip(*rows, strict=True)]
            seeds.append({name: recalls(manifest, features, protocol) for name, protocol in PROTOCOLS.items()})
        for stream in (*STREAMS, "fused"):
            means = [float(np.mean([found[name][stream] for found in seeds])) for name in PROTOCOLS]
            cells = [*means, means[1] - means[2]]
            print(
                f"| {strength:g} | {len(manifest)} | {stream} | " + " | ".join(f"{x:.1f}" for x in cells) + " |",
                flush=True,
            )


if __name__ == "__main__":
    main()
