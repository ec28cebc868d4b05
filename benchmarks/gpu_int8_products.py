"""Products with a weight in int8 on a GPU, as a step of generation has them.

    python benchmarks/gpu_int8_products.py [--rows 1 8 32 128 512]

Three ways to multiply rows of float16 by a weight that a file has in int8: by a float16 copy that
was made when the model was loaded (what tf_ls does); by the bytes, which the kernel widens (weight
only, a Triton kernel); and by cuBLASLt's product of int8 and int8, which takes at least 17 rows and
needs rows that are quantised before it and sums that are scaled after it (counted apart, by kernels
that read and write as much). The weights are those of transformer_base and transformer_big, more
copies than the caches hold; launches are in one CUDA graph, so that only the GPU's time counts.
Microseconds; PyTorch and Triton are needed.
"""

from __future__ import annotations

import argparse
from typing import Callable

import torch
import triton
import triton.language as tl

SHAPES = ((512, 1536), (512, 2048), (2048, 512), (512, 32000), (1024, 4096), (1024, 32000))
FLUSHED = 256 << 20  # bytes of all copies of a weight
REPEATS = 20


@triton.jit
def widening_kernel(x, w, scales, y, rows, n, k, R: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    row = tl.program_id(1) * R + tl.arange(0, R)
    column = tl.program_id(0) * N + tl.arange(0, N)
    sums = tl.zeros((R, N), tl.float32)
    for start in range(0, k, K):
        depth = start + tl.arange(0, K)
        a = tl.load(x + row[:, None] * k + depth[None, :], mask=row[:, None] < rows, other=0.0)
        b = tl.load(w + column[None, :] * k + depth[:, None], mask=column[None, :] < n, other=0)
        sums = tl.dot(a, b.to(tl.float16), sums)
    sums *= tl.load(scales + column, mask=column < n, other=0.0)[None, :]
    mask = (row[:, None] < rows) & (column[None, :] < n)
    tl.store(y + row[:, None] * n + column[None, :], sums.to(tl.float16), mask=mask)


def widening(x, w, scales, y, tiles) -> None:
    """y [rows, n] = x [rows, k] * (scales [n] * w [n, k])^T."""
    (rows, k), n = x.shape, w.shape[0]
    block_rows, block_columns, block_depth = tiles
    grid = (triton.cdiv(n, block_columns), triton.cdiv(rows, block_rows))
    widening_kernel[grid](
        x, w, scales, y, rows, n, k, block_rows, block_columns, block_depth, num_stages=4
    )


def best_tiles(x, w, scales, y) -> tuple[int, int, int]:
    rows = min(64, max(16, triton.next_power_of_2(x.shape[0])))
    sizes = [(rows, columns, depth) for columns in (16, 32, 64, 128) for depth in (64, 128)]
    times = {}
    for tiles in sizes:
        try:
            times[tiles] = triton.testing.do_bench(lambda: widening(x, w, scales, y, tiles))  # noqa: B023
        except triton.runtime.errors.OutOfResources:
            continue
    return min(times, key=times.get)


def time_of(call: Callable[[int], None], copies: int) -> float:
    """Microseconds of call(i) for each copy in turn."""
    for i in range(min(copies, 3)):
        call(i)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(copies):
            call(i)
    graph.replay()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(REPEATS):
        graph.replay()
    end.record()
    torch.cuda.synchronize()
    return 1000 * begin.elapsed_time(end) / REPEATS / copies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32, 128, 512])
    args = parser.parse_args()
    torch.manual_seed(0)
    print(torch.cuda.get_device_name(), "PyTorch", torch.__version__)
    print("\n| inputs | outputs | rows | float16 copy | widened | int8 x int8 | and its ends |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for k, n in SHAPES:
        copies = max(2, FLUSHED // (n * k))
        ints = [
            torch.randint(-127, 128, (n, k), dtype=torch.int8, device="cuda") for _ in range(copies)
        ]
        scales = torch.rand(n, device="cuda") / 1000
        halves = [(w * scales[:, None]).half() for w in ints]
        for rows in args.rows:
            x = torch.randn(rows, k, device="cuda", dtype=torch.float16)
            y = torch.empty(rows, n, device="cuda", dtype=torch.float16)
            tiles = best_tiles(x, ints[0], scales, y)
            widening(x, ints[0], scales, y, tiles)
            expected = x.float() @ (ints[0] * scales[:, None]).T
            assert (y - expected).norm() / expected.norm() < 1e-2
            half = time_of(lambda i: torch.matmul(x, halves[i].T, out=y), copies)  # noqa: B023
            wide = time_of(lambda i: widening(x, ints[i], scales, y, tiles), copies)  # noqa: B023
            product = ends = "-"
            if rows > 16:
                q = torch.randint(-127, 128, (rows, k), dtype=torch.int8, device="cuda")
                sums = torch.empty(rows, n, dtype=torch.int32, device="cuda")
                quantised = torch.empty_like(q)

                def both_ends(_: int) -> None:
                    # The least there could be: one kernel each, which reads and writes once.
                    quantised.copy_(x)  # noqa: B023
                    torch.mul(sums, scales, out=scaled)  # noqa: B023

                scaled = torch.empty(rows, n, device="cuda")
                product = f"{time_of(lambda i: torch._int_mm(q, ints[i].T), copies):.1f}"  # noqa: B023
                ends = f"{time_of(both_ends, copies):.1f}"
            print(
                f"| {k} | {n} | {rows} | {half:.1f} | {wide:.1f} | {product} | {ends} |", flush=True
            )


if __name__ == "__main__":
    main()
