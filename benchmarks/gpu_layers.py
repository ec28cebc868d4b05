"""Transformer layers on a GPU, forward and backward: tf_ls beside PyTorch, in one run.

    bazel build //cc/layers:gpu_layers_benchmark
    python benchmarks/gpu_layers.py [--ours bazel-bin/cc/layers/gpu_layers_benchmark]

One encoder and one decoder layer in float16 (or --dtype bfloat16) with dropout 0.1, pre-norm, relu,
no padding: the layers alone, without TensorFlow, loss and optimizer. PyTorch runs the same layers
eagerly and compiled (scaled_dot_product_attention, autocast). Milliseconds a layer, medians, and
how much faster tf_ls is; the floor is the arithmetic at the rate of a large product in the same
run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from pathlib import Path

import torch
from torch import nn
from torch_transformer import Layer

CELLS = {  # hidden, heads, filter, batch, length
    "base 128 x 32": (512, 8, 2048, 128, 32),
    "base 32 x 32": (512, 8, 2048, 32, 32),
    "base 128 x 128": (512, 8, 2048, 128, 128),
    "base 16 x 512": (512, 8, 2048, 16, 512),
    "big 128 x 32": (1024, 16, 4096, 128, 32),
    "big 64 x 128": (1024, 16, 4096, 64, 128),
}
DROPOUT = 0.1
DEPTH = 6  # PyTorch runs that many layers at a time, which hides what it takes Python to call them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--ours", type=Path, default=Path("bazel-bin/cc/layers/gpu_layers_benchmark")
    )
    parser.add_argument("--cells", nargs="*", choices=CELLS, default=list(CELLS))
    parser.add_argument("--dtype", choices=("float16", "bfloat16"), default="float16")
    args = parser.parse_args()
    dtype = getattr(torch, args.dtype)
    rate = product_rate(dtype)
    card = torch.cuda.get_device_name()
    print(f"{card}, PyTorch {torch.__version__}; large {args.dtype} products:")
    print(f"{rate / 1e12:.0f} TFLOP/s. Forward and backward of a layer, ms:\n")
    head = ("cell", "layer", "floor", "tf_ls", "eager", "compiled", "x eager", "x compiled")
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for name in args.cells:
        cell = CELLS[name]
        command = [args.ours, *map(str, cell), args.dtype]
        ours = json.loads(subprocess.check_output(command, text=True))
        for kind in ("encoder", "decoder"):
            mine = (ours[f"{kind}_forward"] + ours[f"{kind}_backward"]) / 1e3
            eager, compiled = (time_torch(dtype, kind, *cell, compiled=c) for c in (False, True))
            floor = flops(kind, *cell) / rate * 1e3
            times = [f"{t:.3f}" for t in (floor, mine, eager, compiled)]
            ratios = [f"{t / mine:.2f}" for t in (eager, compiled)]
            print("| " + " | ".join([name, kind, *times, *ratios]) + " |", flush=True)


def flops(kind: str, hidden: int, heads: int, filter_size: int, batch: int, length: int) -> float:
    """Of forward and backward: products, and attention, causal in the decoder (half the pairs)."""
    rows, pairs = batch * length, batch * length * length
    weights = 4 * hidden * hidden + 2 * hidden * filter_size
    attended = pairs
    if kind == "decoder":
        weights += 4 * hidden * hidden
        attended = pairs / 2 + pairs
    return 6 * rows * weights + (4 + 10) * attended * hidden


def product_rate(dtype: torch.dtype) -> float:
    """FLOP/s of a large product."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=dtype) for _ in range(2))
    return 2 * 8192**3 / median_seconds(lambda: a @ b)


def median_seconds(call, warm_up: int = 10, repeats: int = 50) -> float:
    for _ in range(warm_up):
        call()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in zip(events, events[1:])) / 1e3


def time_torch(
    dtype: torch.dtype,
    kind: str,
    hidden: int,
    heads: int,
    filter_size: int,
    batch: int,
    length: int,
    compiled: bool,
) -> float:
    """Milliseconds of forward and backward of one layer of a stack."""
    torch._dynamo.reset()
    stack = Stack(kind == "decoder", hidden, heads, filter_size, DROPOUT).cuda().train()
    x, memory, dy = (
        torch.randn(batch, length, hidden, device="cuda", requires_grad=True) for _ in range(3)
    )
    run = torch.compile(stack) if compiled else stack

    def step():
        stack.zero_grad(set_to_none=True)
        x.grad = memory.grad = None
        with torch.autocast("cuda", dtype):
            y = run(x, memory)
        y.backward(dy)

    return median_seconds(step) * 1e3 / DEPTH


class Stack(nn.Module):
    def __init__(self, *args):
        super().__init__()
        self.layers = nn.ModuleList(Layer(*args) for _ in range(DEPTH))

    def forward(self, x, memory):
        for layer in self.layers:
            x = layer(x, memory)
        return x


if __name__ == "__main__":
    main()
