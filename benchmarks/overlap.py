"""Precision and recall of `cimeu overlap` on copies of real speech.

    CIMEU_DATA=... python benchmarks/overlap.py [--clips 200] [--features spectral]

Half of the clips are copied: encoded as MP3 at 32 kbit/s, ten times quieter, cut at both ends (10 to 40 % of the clip),
or cut and encoded. The other half of the second corpus are other clips of the same people. `--features` compares the
features of an encoder instead of the recordings; `--first` skips clips, so that a limit is chosen on others than it is
judged on.
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import av
import numpy as np

from cimeu.corpora.adapters.folder import from_flat_folder
from cimeu.corpora.audit.shared_recordings import shared_recordings
from cimeu.corpora.manifest import read_manifest
from cimeu.encoders.registry import build_encoder
from cimeu.features.extract import extract
from cimeu.features.shared_clips import shared_clips
from cimeu.media.audio import RATE_HZ, read_sound, write_sound

KINDS = ("encoded", "quieter", "cut", "cut and encoded")


def main() -> None:
    """Make the copies, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--features", metavar="ENCODER", default="")
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    speech = read_manifest(Path(os.environ["CIMEU_DATA"]) / "speech" / "manifest.csv")
    generator = np.random.default_rng(0)
    drawn = generator.permutation(len(speech))[arguments.first :][: 3 * arguments.clips // 2]
    clips = [speech.clips()[row] for row in drawn]
    n_copied = arguments.clips // 2
    with tempfile.TemporaryDirectory() as folder:
        one, other = Path(folder, "one"), Path(folder, "other")
        one.mkdir()
        other.mkdir()
        for place, clip in enumerate(clips[: arguments.clips]):
            write_sound(one / f"{place}.wav", read_sound(clip.path))
        for place, clip in enumerate(clips[:n_copied]):
            write_copy(other / f"copy{place}", read_sound(clip.path), KINDS[place % 4], generator)
        for place, clip in enumerate(clips[arguments.clips :]):
            write_sound(other / f"own{place}.wav", read_sound(clip.path))
        manifests = [from_flat_folder(corpus) for corpus in (one, other)]
        stores = Path(folder, "features")
        if arguments.features:
            for manifest in manifests:
                extract(manifest, [build_encoder(arguments.features)], stores, directions=("forward",))
        started_s = time.perf_counter()
        found = (
            shared_clips(manifests[0], manifests[1], [stores]).overlap
            if arguments.features
            else shared_recordings(*manifests)
        )
        pairs = {(copy.one, copy.other) for copy in found.copies}
        elapsed_s = time.perf_counter() - started_s
    right = {(str(place), f"copy{place}") for place in range(n_copied)}
    hits = pairs & right
    print(f"precision {len(hits)} of {len(pairs)}, recall {len(hits)} of {len(right)}, {elapsed_s:.0f} s")
    for kind, count in sorted(Counter(KINDS[int(place) % 4] for place, _ in hits).items()):
        print(f"{kind}: {count} of {sum(KINDS[place % 4] == kind for place in range(n_copied))}")
    print("pairs of different files:", sorted(pairs - right)[:5])


def write_copy(path: Path, samples: np.ndarray, kind: str, generator: np.random.Generator) -> None:
    """A copy of one kind, `path` without its suffix."""
    if "cut" in kind:
        ends = (generator.uniform(0.05, 0.2, 2) * len(samples)).astype(int)
        samples = samples[ends[0] : len(samples) - ends[1]]
    if kind == "quieter":
        samples = samples / 10
    if "encoded" not in kind:
        write_sound(path.with_suffix(".wav"), samples)
        return
    with av.open(str(path.with_suffix(".mp3")), "w") as container:
        stream = container.add_stream("mp3", rate=RATE_HZ, layout="mono")
        stream.bit_rate = 32_000
        whole = (np.clip(samples, -1, 1) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
        frame.sample_rate = RATE_HZ
        for piece in (frame, None):
            container.mux(stream.encode(piece))


if __name__ == "__main__":
    main()
