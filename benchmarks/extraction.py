"""Extraction against the official script's way of working: the same network, the same clips, the same windows.

    python benchmarks/extraction.py CLIP [CLIP ...]                # speed, then the encoder alone
    python benchmarks/extraction.py CLIP --size giant --seconds 0.7
    python benchmarks/extraction.py CLIP --error                   # only how far each engine is from fp32

The official way, after `extract_tad_feature.py` of VideoMAE V2: windows are sought in the file and decoded one by one,
encoded one at a time in fp32 with plain attention, in three passes for strides 4, 8 and 16. Ours: `extract`, which
decodes once and encodes each window of stride 4 once; strides 8 and 16 are every second and fourth of its rows.
Weights are RANDOM (speed and rounding do not depend on them much, features would be worthless); reading weights and
compiling them is left out on both sides. Each clip is measured as it is and as a 224 x 224 copy, like packed corpora.

    wall, cpu   seconds; on a machine that is busy, the ratio of processor time is the steadier one
    peak        best rate of a matrix product (2048) measured between the windows: fp32 and bf16
    share       the encoder's rate over the peak of its precision
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from cimeu.corpora.manifest import Manifest, build_manifest
from cimeu.devices import PRECISIONS, Placement
from cimeu.encoders.engines import choose_library
from cimeu.encoders.videomae import FRAMES, SIZES, TUBELET, VideoMAEEncoder, VideoMAESize, load_videomae_v2
from cimeu.features.extract import extract
from cimeu.media.video import frames, write_video

STRIDES = (4, 8, 16)
RATE_HZ = 25.0
SIDE = 224
START_S = 0.5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--seconds", type=float, default=1.88, help="of each clip")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of our way")
    parser.add_argument("--workers", type=int, default=0, help="their start is in the wall time, not in that of cpu")
    parser.add_argument("--error", action="store_true", help="compare engines with fp32 and stop")
    arguments = parser.parse_args()
    size = SIZES[arguments.size]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights = random_weights(folder / "random.pth", size)
        placement = Placement.choose("auto", arguments.precision)
        print(f"VideoMAE V2 {arguments.size}, RANDOM weights, {torch.get_num_threads()} threads, ours: {placement}")
        encoders = made(arguments.size, weights)
        if arguments.error:
            print_errors(encoders, arguments.clips, weights)
            return
        official = load_videomae_v2(weights)
        official.tokens_of.set_attn_implementation("eager")
        for case, clips in (("as they are", arguments.clips), ("224 x 224", small_copies(arguments.clips, folder))):
            print(f"\n{len(clips)} clips, {case}, {arguments.seconds} s of each, forward", flush=True)
            theirs = timed(lambda clips=clips: [official_way(official, clip, arguments.seconds) for clip in clips])
            windows = sum(theirs[2])
            print(
                f"  {'official way':<16}{windows:>4} windows  wall {theirs[0]:6.1f}  cpu {theirs[1]:6.1f}", flush=True
            )
            for name in (name for name in encoders if name.endswith(placement.precision)):
                encoder = encoders[name]
                encoder(np.zeros((1, FRAMES, SIDE, SIDE, 3), np.uint8))
                manifest = manifest_of(clips, arguments.seconds)
                ours = timed(lambda e=encoder, m=manifest, n=name: ours_way(e, m, folder / n, arguments.workers))
                ratios = f"{theirs[0] / ours[0]:.1f} times by wall, {theirs[1] / ours[1]:.1f} by cpu"
                print(
                    f"  {name:<16}{ours[2]:>4} windows  wall {ours[0]:6.1f}  cpu {ours[1]:6.1f}   {ratios}", flush=True
                )
        print_shares(encoders, size)


def made(size: str, weights: Path) -> dict[str, VideoMAEEncoder]:
    """Encoders by engine and precision, ready to compute."""
    both = choose_library("auto", Placement.choose().device) == "openvino"
    engines = ("torch", "openvino") if both else ("torch",)
    encoders = {
        f"{engine} {precision}": VideoMAEEncoder(
            size, weights=weights, source="frame", engine=engine, precision=precision
        )
        for engine in engines
        for precision in ("bf16", "fp32")
    }
    return dict(sorted(encoders.items()))


def official_way(module: torch.nn.Module, clip: Path, seconds: float) -> int:
    """Windows sought and encoded one at a time in three passes; how many."""
    count = 0
    for stride in STRIDES:
        n_frames = int(seconds * RATE_HZ)
        for start in range(0, n_frames - FRAMES + 1, stride):
            pixels = np.stack(list(sought(clip, START_S + start / RATE_HZ)))
            with torch.inference_mode():
                video = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
                video = F.interpolate(video, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
                module(video.transpose(0, 1)[None]).numpy()
            count += 1
    return count


def sought(clip: Path, start_s: float) -> Iterator[np.ndarray]:
    """Sixteen pictures from a moment on: the file is searched, and decoded from the key frame before it."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        container.seek(int(start_s / stream.time_base), stream=stream)
        due = [start_s + index / RATE_HZ for index in range(FRAMES)]
        for picture in container.decode(stream):
            while due and picture.time is not None and picture.time + 1 / float(stream.average_rate) > due[0] + 1e-6:
                due.pop(0)
                yield picture.to_ndarray(format="rgb24")
            if not due:
                return


def ours_way(encoder: VideoMAEEncoder, manifest: Manifest, folder: Path, workers: int) -> int:
    """The same windows through `extract`; how many."""
    shutil.rmtree(folder, ignore_errors=True)
    done = extract(manifest, [encoder], folder, directions=("forward",), workers=workers)
    assert done.failures.empty, done.failures
    return done.windows


def timed(work: Callable[[], int | list[int]]) -> tuple[float, float, int]:
    """Wall and processor seconds, and what the work returns."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s, result  # type: ignore[return-value]


def print_shares(encoders: dict[str, VideoMAEEncoder], size: VideoMAESize) -> None:
    """The encoder alone, window by window, with the machine's matrix product measured in between."""
    window = np.random.default_rng(0).integers(0, 256, (1, FRAMES, SIDE, SIDE, 3), np.uint8)
    needed = operations(size)
    print(f"\nthe encoder alone: {needed / 1e9:.0f} GFLOP a window")
    for name, encoder in encoders.items():
        dtype = torch.bfloat16 if name.endswith("bf16") else torch.float32
        encoder(window)
        spent_s, peaks = [], []
        for _ in range(5):
            peaks.append(peak(dtype))
            started_s = time.perf_counter()
            encoder(window)
            spent_s.append(time.perf_counter() - started_s)
        rate, best = needed / min(spent_s), max(peaks)
        print(
            f"  {name:<16}{min(spent_s):6.2f} s a window  {rate / 1e9:5.0f} of {best / 1e9:5.0f} GFLOP/s"
            f"  share {100 * rate / best:3.0f} %"
        )


def peak(dtype: torch.dtype) -> float:
    """Operations a second of the best of a few matrix products."""
    a, b = torch.rand(2048, 2048).to(dtype), torch.rand(2048, 2048).to(dtype)
    spent_s = []
    for _ in range(4):
        started_s = time.perf_counter()
        torch.mm(a, b)
        spent_s.append(time.perf_counter() - started_s)
    return 2 * 2048**3 / min(spent_s)


def operations(size: VideoMAESize) -> float:
    """Multiplications and additions of the matrix products of one window."""
    tokens = (FRAMES // TUBELET) * (SIDE // size.patch) ** 2
    embedding = 2 * tokens * size.width * 3 * TUBELET * size.patch**2
    projections = 2 * tokens * size.width * (4 * size.width + 2 * size.feed_forward)
    attention = 4 * tokens**2 * size.width
    return embedding + size.depth * (projections + attention)


def print_errors(encoders: dict[str, VideoMAEEncoder], clips: list[Path], weights: Path) -> None:
    """Cosine and largest difference between the vectors of each engine and those of the plain network in fp32."""
    pictures = [
        np.stack([picture.pixels for picture in frames(clip, start_s=START_S, end_s=START_S + FRAMES / RATE_HZ)])
        for clip in small_copies(clips, weights.parent)
    ]
    windows, module = np.stack(pictures), load_videomae_v2(weights)
    with torch.inference_mode():
        video = torch.from_numpy(windows).permute(0, 4, 1, 2, 3).float() / 255
        wanted = torch.cat([module(each[None]) for each in video])
    print(f"{len(windows)} windows of real clips, against {module.size.depth} layers in fp32")
    for name, encoder in encoders.items():
        vectors = torch.from_numpy(encoder(windows))
        cosine = F.cosine_similarity(vectors.double(), wanted.double()).min().item()
        scale = wanted.abs().max()
        largest = (vectors - wanted).abs().max() / scale
        print(f"  {name:<16}cosine at least {cosine:.7f}, differences at most {largest:.1e} of the range")


def random_weights(path: Path, size: VideoMAESize) -> Path:
    """An official file with random tensors: norms near one, weights as at the start of training, larger biases."""
    torch.manual_seed(0)
    width, hidden = size.width, size.feed_forward
    tensors = {
        "patch_embed.proj.weight": torch.randn(width, 3, TUBELET, size.patch, size.patch) * 0.02,
        "patch_embed.proj.bias": torch.randn(width) * 0.02,
        "fc_norm.weight": 1 + 0.1 * torch.randn(width),
        "fc_norm.bias": 0.1 * torch.randn(width),
    }
    for block in range(size.depth):
        shapes = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
        shapes |= {"mlp.fc1": (hidden, width), "mlp.fc2": (width, hidden)}
        for name, shape in shapes.items():
            tensors[f"blocks.{block}.{name}.weight"] = torch.randn(shape) * shape[1] ** -0.5
        for name, length in (("attn.q", width), ("attn.v", width)):
            tensors[f"blocks.{block}.{name}_bias"] = 0.1 * torch.randn(length)
        for name, length in (("attn.proj", width), ("mlp.fc1", hidden), ("mlp.fc2", width)):
            tensors[f"blocks.{block}.{name}.bias"] = 0.1 * torch.randn(length)
        for norm in ("norm1", "norm2"):
            tensors[f"blocks.{block}.{norm}.weight"] = 1 + 0.1 * torch.randn(width)
            tensors[f"blocks.{block}.{norm}.bias"] = 0.1 * torch.randn(width)
    torch.save({"module": tensors}, path)
    return path


def small_copies(clips: list[Path], folder: Path) -> list[Path]:
    """The clips at 224 x 224 and 25 pictures a second."""
    copies = []
    for clip in clips:
        copy = folder / f"{clip.stem}-224.mp4"
        if not copy.is_file():
            pictures = (stretched(picture.pixels) for picture in frames(clip, end_s=3.0))
            write_video(copy, pictures, rate_hz=RATE_HZ)
        copies.append(copy)
    return copies


def stretched(pixels: np.ndarray) -> np.ndarray:
    """A picture at 224 x 224."""
    from cimeu.media.face_crops import stretched as stretch

    return stretch(pixels, 0, 0, pixels.shape[1], pixels.shape[0], SIDE)


def manifest_of(clips: list[Path], seconds: float) -> Manifest:
    """The same stretch of every clip."""
    stretch = {"start_s": START_S, "end_s": START_S + seconds}
    return build_manifest(
        pd.DataFrame([{"path": str(clip), "emotion": "anger", **stretch} for clip in clips]), Path("/")
    )


if __name__ == "__main__":
    main()
