"""Precision and recall of `cimeu overlap` on copies of real speech.

    CIMEU_DATA=... python benchmarks/overlap.py [--clips 200]

Half of the clips are copied: encoded as MP3 at 32 kbit/s, ten times quieter, cut at both ends (10 to 40 % of the clip),
or cut and encoded. The other half of the second corpus are other clips of the same people.
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
from cimeu.media.audio import RATE_HZ, read_sound, write_sound

KINDS = ("encoded", "quieter", "cut", "cut and encoded")


def main() -> None:
    """Make the copies, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=200)
    arguments = parser.parse_args()
    speech = read_manifest(Path(os.environ["CIMEU_DATA"]) / "speech" / "manifest.csv")
    generator = np.random.default_rng(0)
    drawn = generator.permutation(len(speech))[: 3 * arguments.clips // 2]
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
        started_s = time.perf_counter()
        found = shared_recordings(from_flat_folder(one), from_flat_folder(other))
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
