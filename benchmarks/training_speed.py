"""How fast a base network trains on this machine, and how near that is to what its cores can multiply.

    python benchmarks/training_speed.py                 # stored AST tokens: forward, backward, AdamW step
    python benchmarks/training_speed.py --ast           # AST of base size inside: trained in bf16, and evaluated
    python benchmarks/training_speed.py --profile       # the slowest operations

Widths are asserted: C = 512, D = 1408, 300 AST tokens of 768; levels of 16, 8 and 4 steps; 32 clips a batch. Random
weights and inputs (the AST's too: speed does not depend on them). The matrix-product peak is measured in the same run,
before and after, because a shared machine gives another share of its cores every minute; read the ratio.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cimeu.encoders.ast import AST
from cimeu.model.config import ModelConfig, StreamConfig
from cimeu.model.network import CiMEU, Output
from cimeu.pyramid import Stream

EMOTIONS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def network(*, with_ast: bool) -> CiMEU:
    """The published setting at base size."""
    kind: dict[str, object] = {"kind": "filterbank", "width": 128} if with_ast else {"kind": "tokens", "width": 768}
    config = ModelConfig(emotions=EMOTIONS, first=StreamConfig(width=1408), second=StreamConfig(**kind))  # type: ignore[arg-type]
    model = CiMEU(config, audio=AST(width=768, layers=12, heads=12) if with_ast else None)
    size = config.sizes
    assert (size.width, size.temporal_mlp, size.layers, size.feed_forward) == (512, 768, 6, 1024)
    assert model.second_map.mixture.in_features == 300
    assert model.second_map.linear.in_features == 768
    return model


def batch(clips: int, *, with_ast: bool) -> tuple[Stream, Stream, torch.Tensor]:
    """Random clips of full length."""
    shapes = ((clips, 16, 1408), (clips, 256, 128) if with_ast else (clips, 300, 768))
    present = torch.ones(clips, dtype=torch.bool)
    first, second = (Stream(torch.randn(s), torch.ones(s[:2], dtype=torch.bool), present) for s in shapes)
    return first, second, torch.randint(len(EMOTIONS), (clips,))


def loss(output: Output, first: Stream, emotion: torch.Tensor) -> torch.Tensor:
    """Every output the objective reads, so that the backward pass is whole."""
    assert None not in (output.rebuilt, output.aligned, output.style_logits)
    heads = (*output.logits, *output.emotion_adversary)
    total = sum(nn.functional.cross_entropy(x, emotion) for x in heads)
    styles = emotion % 3
    total = total + sum(nn.functional.cross_entropy(x, styles) for x in (*output.style_logits, *output.style_adversary))
    for level, stride in zip(output.rebuilt, (1, 2, 4), strict=True):
        total = total + (level.features - first.features[:, ::stride]).square().mean()
    for ours, theirs in zip(*output.aligned, strict=True):
        p, q = ours.features.float().log_softmax(-1).detach(), theirs.features.float().log_softmax(-1)
        total = total + nn.functional.kl_div(q, p, log_target=True, reduction="batchmean")
    return total  # type: ignore[return-value]


def precision(name: str) -> AbstractContextManager[object]:
    """Automatic mixed precision, or none."""
    return nullcontext() if name == "fp32" else torch.autocast("cpu", dtype=torch.bfloat16)


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


def measure(name: str, clips: int, flops: float, dtype: torch.dtype, work: Callable[[], object], repeats: int) -> None:
    """Print one line: speed, and share of the peak."""
    before = peak_gflops(dtype)
    taken = seconds(work, repeats)
    peak = (before + peak_gflops(dtype)) / 2
    achieved = flops / taken / 1e9
    print(
        f"{name:<28} {clips / taken:7.2f} clips/s  {flops / clips / 1e9:7.2f} GFLOP/clip  "
        f"{achieved:6.1f} of {peak:6.1f} GFLOP/s = {achieved / peak:4.0%} of the matrix-product peak"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ast", action="store_true", help="train and evaluate the AST inside the network")
    parser.add_argument("--clips", type=int, default=32, help="clips per batch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--profile", action="store_true", help="print the slowest operations of a step")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = network(with_ast=options.ast).train()
    first, second, emotion = batch(options.clips, with_ast=options.ast)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step(name: str) -> None:
        optimiser.zero_grad(set_to_none=True)
        with precision(name):
            total = loss(model(first, second, emotion=emotion, reversal=0.5), first, emotion)
        total.backward()
        optimiser.step()

    def evaluate(name: str) -> None:
        with torch.inference_mode(), precision(name):
            model(first, second)

    print(
        f"torch {torch.__version__}, {options.threads} threads, {options.clips} clips a batch; parameters in millions:"
    )
    for name, module in model.named_children():
        print(f"  {name:<14} {sum(p.numel() for p in module.parameters()) / 1e6:7.2f}")
    print(f"  {'together':<14} {sum(p.numel() for p in model.parameters()) / 1e6:7.2f}")

    few = batch(2, with_ast=options.ast)
    with FlopCounterMode(display=False) as counter:
        loss(model(*few[:2], emotion=few[2], reversal=0.5), few[0], few[2]).backward()
    training_flops = counter.get_total_flops() / 2 * options.clips
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(*few[:2])
    evaluation_flops = counter.get_total_flops() / 2 * options.clips

    for name in ("bf16",) if options.ast else ("fp32", "bf16"):
        if options.profile:
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
                step(name)
            print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=30, max_name_column_width=50))
        dtype = PRECISIONS[name]
        model.train()
        measure(f"training, {name}", options.clips, training_flops, dtype, lambda: step(name), options.repeats)  # noqa: B023
        model.eval()
        measure(f"evaluation, {name}", options.clips, evaluation_flops, dtype, lambda: evaluate(name), options.repeats)  # noqa: B023


if __name__ == "__main__":
    main()
