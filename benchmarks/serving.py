"""A server under open-loop load, beside the library called directly.

    python benchmarks/serving.py [--model base] [--seconds 20] [--rates 0.5 0.9 2]

The library: batches of 32 sentences that are sorted by length, one after the other, which is the
capacity; it is measured before and after each load, for machines change while one looks at them.
`tf-ls serve` in a process of its own: requests of one sentence over REST arrive at fixed times,
whether or not those before are answered, at so many times the capacity before. A request's time
begins when it was due. Requests of the first quarter count for nothing, nor do answers in it or
after the last request: the throughput is that of a server that has been busy for long. Its share is
that of what the library could answer, which is what arrives or its capacity. Sources have 8 to 32
words; 32 words are generated for each with beam 4, EOS forbidden, from random weights.
Clients, server and model share the machine's cores.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import aiohttp
import numpy as np

LENGTH = 32
BATCH = 32
OPTIONS = {
    "eos": 2,
    "beam_size": 4,
    "max_length": LENGTH,
    "max_extra_length": None,
    "forbidden_tokens": (2,),
}
MODELS = {
    "demo": {"vocab_size": 8000, "hidden_size": 128, "intermediate_size": 512, "nhead": 4},
    "base": {"vocab_size": 32000, "hidden_size": 512, "intermediate_size": 2048, "nhead": 8},
}
LAYERS = {"demo": 2, "base": 6}


def export_model(name: str, folder: Path) -> int:
    """Exports a model with random weights; returns its vocabulary."""
    from tf_ls import export
    from tf_ls.models import LSTransformer

    model = LSTransformer(
        **MODELS[name],
        padding_idx=0,
        share_source_target_embedding=True,
        num_encoder_layer=LAYERS[name],
        num_decoder_layer=LAYERS[name],
    )
    export.save(model, folder, options=OPTIONS, start=1)
    return MODELS[name]["vocab_size"]


def sources(count: int, vocabulary: int) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(3, vocabulary, rng.integers(8, 33)).tolist() for _ in range(count)]


class Library:
    """The model, called directly."""

    def __init__(self, folder: Path, rows: list[list[int]]):
        import tf_ls.inference

        self._model = tf_ls.inference.Transformer(folder, BATCH)
        self._rows = sorted(rows[: 4 * BATCH], key=len)
        self._model.infer(self._rows[:BATCH])

    def capacity(self, seconds: float) -> float:
        """Sentences a second."""
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            first = done % len(self._rows)
            self._model.infer(self._rows[first : first + BATCH])
            done += BATCH
        return done / (time.perf_counter() - started)


async def load(port: int, rows: list[list[int]], rate: float, seconds: float) -> dict:
    """Sends requests at a rate, and waits for all answers."""
    times: list[float] = []
    in_time = 0
    codes: collections.Counter = collections.Counter()
    url = f"http://127.0.0.1:{port}/v1/models/model:predict"
    connector = aiohttp.TCPConnector(limit=0)

    async def request(session: aiohttp.ClientSession, row: list[int], due: float) -> None:
        nonlocal in_time
        async with session.post(url, json={"instances": [row]}) as response:
            await response.read()
        now = asyncio.get_running_loop().time()
        if response.status == 200 and counted <= now <= ended:
            in_time += 1
        if due >= counted:
            codes[response.status] += 1
            if response.status == 200:
                times.append(now - due)

    processor_before = time.process_time()
    async with aiohttp.ClientSession(connector=connector) as session:
        loop = asyncio.get_running_loop()
        started, tasks = loop.time(), []
        counted, ended = started + seconds / 4, started + seconds
        for number in range(int(rate * seconds)):
            due = started + number / rate
            await asyncio.sleep(max(due - loop.time(), 0))
            tasks.append(loop.create_task(request(session, rows[number % len(rows)], due)))
        await asyncio.gather(*tasks)
        cores = (time.process_time() - processor_before) / (loop.time() - started)
    times.sort()
    return {
        "throughput": in_time / (ended - counted),
        "p50": statistics.median(times),
        "p99": times[int(0.99 * (len(times) - 1))],
        "codes": dict(codes),
        "client_cores": cores,
    }


def serve(folder: Path, flags: list[str]) -> tuple[subprocess.Popen, int]:
    """A server that is ready, and its port."""
    command = [sys.executable, "-m", "tf_ls", "serve", folder, "--name=model", "--rest-port=0"]
    process = subprocess.Popen(
        [*command, "--no-grpc", *flags], stderr=subprocess.PIPE, text=True, cwd="/"
    )
    port = 0
    for line in process.stderr:
        if match := re.search(r'"REST listens".*"port": (\d+)', line):
            port = int(match[1])
        if '"message": "serving"' in line:
            # Somebody has to read on, or the server waits for that.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process, port
    raise RuntimeError("the server has ended")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="base")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.5, 0.9, 2], help="x capacity")
    parser.add_argument("--flag", action="append", default=[], help="of the server; repeatable")
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "exported")
        rows = sources(512, export_model(args.model, path))
        library = Library(path, rows)
        process, port = serve(path, args.flag)
        try:
            for rate in args.rates:
                before = library.capacity(args.seconds / 2)
                found = asyncio.run(load(port, rows, rate * before, args.seconds))
                after = library.capacity(args.seconds / 2)
                attainable = min(rate * before, (before + after) / 2)
                print(
                    f"the library: {before:.1f} and {after:.1f} sentences/s; {rate:4} x:"
                    f" {found['throughput']:.1f} sentences/s,"
                    f" {found['throughput'] / attainable:.0%},"
                    f" p50 {1000 * found['p50']:.0f} ms, p99 {1000 * found['p99']:.0f} ms,"
                    f" {json.dumps(found['codes'])}, clients {found['client_cores']:.3f} cores",
                    flush=True,
                )
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
