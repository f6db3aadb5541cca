"""How fast a network trains on this machine, and how near that is to what its cores can multiply.

    python benchmarks/training_speed.py                 # base size, stored AST tokens: forward, backward, AdamW step
    python benchmarks/training_speed.py published       # the published form of the same
    python benchmarks/training_speed.py ast             # AST of base size inside: trained in bf16, and evaluated
    python benchmarks/training_speed.py speech          # small, with one vector for each utterance beside its steps

Weights and inputs are random (the AST's too: speed does not depend on them), clips have all 16 steps. The peak of
matrix products is measured in the same run, before and after, because a shared machine gives another share of its cores
every minute; read the ratio. `speech` is measured a second time with 16 steps in place of the one vector: their ratio
is what is saved by leaving out steps that no clip has. `--profile` prints the slowest operations.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from cimeu.batching.collate import Batch
from cimeu.encoders.ast import AST
from cimeu.model.config import ModelConfig, StreamConfig
from cimeu.model.network import CiMEU
from cimeu.pyramid import STEPS, Stream
from cimeu.training.objective import LossWeights, objective

EMOTIONS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
FIRST, TOKENS = StreamConfig(width=1408), StreamConfig(kind="tokens", width=768)
DEFAULT = ModelConfig(emotions=EMOTIONS, first=FIRST, second=TOKENS)
SETTINGS = {
    "default": DEFAULT,
    "published": replace(DEFAULT, disentangle="first", alignment="published", late_fusion="published"),
    "ast": replace(DEFAULT, second=StreamConfig(kind="filterbank", width=128)),
    "speech": ModelConfig(
        emotions=EMOTIONS[:4], first=StreamConfig(width=288), second=StreamConfig(width=200), size="small"
    ),
}


def network(config: ModelConfig) -> CiMEU:
    """A network with random weights, the AST's too."""
    assert config.second is not None
    audio = AST(width=768, layers=12, heads=12) if config.second.kind == "filterbank" else None
    return CiMEU(config, audio=audio)


def batch(config: ModelConfig, clips: int, second_steps: int = STEPS) -> Batch:
    """Random clips of full length; `second_steps`: real steps of a second stream of steps."""
    second = config.second
    assert second is not None
    length = {"steps": STEPS, "tokens": second.tokens, "filterbank": second.frames}[second.kind]
    real = torch.arange(length) < (second_steps if second.kind == "steps" else length)
    present = torch.ones(clips, dtype=torch.bool)

    def stream(mask: torch.Tensor, width: int) -> Stream:
        return Stream(torch.randn(clips, len(mask), width) * mask[:, None], mask.expand(clips, -1), present)

    x, y = stream(torch.ones(STEPS, dtype=torch.bool), config.first.width), stream(real, second.width)
    index = torch.arange(clips)
    target = y.features if second.kind == "steps" else None
    return Batch(x, y, index % len(config.emotions), index % config.styles, index, x.features, target)


def half(name: str) -> AbstractContextManager[object]:
    """Automatic mixed precision, or none."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=name == "bf16")


def backward(model: CiMEU, clips: Batch, precision: str) -> None:
    """Forward and backward pass of the whole objective."""
    assert clips.first is not None
    with half(precision):
        output = model(clips.first, clips.second, emotion=clips.emotion, reversal=0.5)
    objective(output, clips, LossWeights(), alignment=model.config.alignment).total.backward()


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median time after one round of warming up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def peak_gflops(dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large matrix product."""
    n = 2048
    a, b = torch.randn(n, n, dtype=dtype), torch.randn(n, n, dtype=dtype)
    return 2 * n**3 / seconds(lambda: a @ b, 5) / 1e9


def operations(work: Callable[[], object], clips: int) -> float:
    """Floating-point operations a clip, of matrix products."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / clips


def measure(name: str, clips: int, flops: float, dtype: torch.dtype, work: Callable[[], object], repeats: int) -> float:
    """Print one line: speed, and share of the peak; returns the seconds."""
    before = peak_gflops(dtype)
    taken = seconds(work, repeats)
    peak = (before + peak_gflops(dtype)) / 2
    achieved = flops * clips / taken / 1e9
    print(
        f"{name:<34} {clips / taken:7.2f} clips/s  {flops / 1e9:7.3f} GFLOP/clip  "
        f"{achieved:6.1f} of {peak:6.1f} GFLOP/s = {achieved / peak:4.0%} of the peak"
    )
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", nargs="?", choices=SETTINGS, default="default")
    parser.add_argument("--clips", type=int, default=32, help="clips per batch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--profile", action="store_true", help="print the slowest operations of a step")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = SETTINGS[options.setting]
    model = network(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step(clips: Batch, name: str) -> None:
        optimiser.zero_grad(set_to_none=True)
        backward(model, clips, name)
        optimiser.step()

    def evaluate(clips: Batch, name: str) -> None:
        assert clips.first is not None
        with torch.inference_mode(), half(name):
            model.decision(clips.first, clips.second)

    print(f"torch {torch.__version__}, {options.threads} threads, {options.clips} clips a batch, {options.setting}")
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} million parameters")
    lengths = (1, STEPS) if options.setting == "speech" else (STEPS,)
    for name in ("bf16",) if options.setting == "ast" else ("fp32", "bf16"):
        taken = []
        for length in lengths:
            torch.manual_seed(0)
            clips, few = batch(config, options.clips, length), batch(config, 2, length)
            if options.profile:
                with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
                    step(clips, name)
                print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=30))
            steps = f", {length} of {STEPS} steps" if len(lengths) > 1 else ""
            common = {"dtype": PRECISIONS[name], "clips": options.clips, "repeats": options.repeats}
            model.train()
            work, flops = lambda: step(clips, name), operations(lambda: backward(model, few, "fp32"), 2)  # noqa: B023
            taken.append(measure(f"training, {name}{steps}", flops=flops, work=work, **common))
            model.eval()
            work, flops = lambda: evaluate(clips, name), operations(lambda: evaluate(few, "fp32"), 2)  # noqa: B023
            measure(f"evaluation, {name}{steps}", flops=flops, work=work, **common)
        if len(taken) > 1:
            print(f"one step takes {taken[0] / taken[1]:.2f} of the time of {STEPS} ({name})")


if __name__ == "__main__":
    main()
