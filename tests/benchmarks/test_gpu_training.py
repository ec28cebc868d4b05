"""The benchmark of training on a GPU: its batches, its arithmetic, and a run of it on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(ROOT / "tests" / "neurst")]

import gpu_training  # noqa: E402
import tiny_task  # noqa: E402
import training_batches as batches  # noqa: E402

# NeurST's own batches of pairs of lengths, which are given as ids of these lengths.
NEURST = """
import json, sys
import neurst
import tensorflow as tf
from neurst.data import dataset_utils
from neurst.tasks.translation import Translation

class Lengths(Translation):
    def __init__(self, tokens, longest):
        self._args = {"max_src_len": longest, "max_trg_len": longest, "batch_size": tokens}
        self._args.update(batch_size_per_gpu=None, batch_by_tokens=True, cache_dataset=False)
        self._args.update(shuffle_buffer=0, gpu_efficient_level=0)
        self._src_data_pipeline = self._trg_data_pipeline = self
        self.meta = {"pad_id": 0}
    def get_data_preprocess_fn(self, *args):
        return None

class Pairs:
    status = None
    def __init__(self, pairs):
        self.pairs = pairs
    def build(self, **options):
        def examples():
            for source, target in self.pairs:
                yield {"feature": [1] * source, "label": [1] * target}
        spec = tf.TensorSpec([None], tf.int64)
        return tf.data.Dataset.from_generator(
            examples, output_signature={"feature": spec, "label": spec})

pairs, tokens, longest = json.load(sys.stdin)
data = Lengths(tokens, longest).create_and_batch_tfds(Pairs(pairs), "train")
print(json.dumps([
    [[[int(s.sum()), int(t.sum())] for s, t in zip(b["feature"], b["label"])], b["label"].shape[1]]
    for b in data.as_numpy_iterator()]))
"""


def test_batches_are_neursts_own(tmp_path):
    generator = np.random.default_rng(1)
    pairs = generator.integers(1, 44, [600, 2]).tolist()
    task = json.dumps([pairs, 512, 40])
    command = [sys.executable, "-c", NEURST]
    environment = tiny_task.environment(tmp_path)
    done = subprocess.run(command, env=environment, input=task, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = [
        ([tuple(pair) for pair in batch], length)
        for batch, length in json.loads(done.stdout.splitlines()[-1])
    ]
    ours = list(batches.batch_by_tokens([tuple(pair) for pair in pairs], 512, 40))
    assert len(expected) > 10
    assert ours == expected


def test_sentences_end_where_their_length_says():
    batch = batches.random_batch(np.random.default_rng(0), [(1, 5), (4, 2)], 5, vocab_size=20)
    for ids, lengths in zip(batch[:2], batch[2:]):
        assert ids.dtype == np.int64
        is_end = ids == 19
        np.testing.assert_array_equal(is_end.argmax(axis=1) + 1, lengths)
        np.testing.assert_array_equal(is_end.sum(axis=1), 5 - lengths + 1)
    assert batch.tokens == 12


def test_lengths_of_a_corpus_come_back(tmp_path):
    source, target, file = (tmp_path / name for name in ("source", "target", "lengths"))
    source.write_text("a b\n\nc d\n")
    target.write_text("a\nb@@ c\nd\n")
    assert batches.write_lengths(source, target, file) == 3
    assert sorted(batches.read_lengths(file)) == [(1, 3), (3, 2), (3, 2)]


def test_what_is_no_list_of_lengths_is_refused(tmp_path):
    file = tmp_path / "lengths"
    file.write_text("3 4 1\n5 6\n")
    with pytest.raises(ValueError, match="lengths:2: expected the lengths of source and target"):
        batches.read_lengths(file)


def test_a_corpus_too_small_for_the_batches_is_refused():
    with pytest.raises(ValueError, match="10 sentences make 1 batches, 3 are wanted"):
        batches.corpus_batches([(4, 4)] * 10, tokens=64, count=3, vocab_size=20)


def test_flops_are_those_of_every_product():
    model = gpu_training.Model("", 6, 2, 10, layers=3, dropout=0.1, vocab_size=20)
    batch = batches.random_batch(np.random.default_rng(0), [(3, 4), (5, 2)], 5, vocab_size=20)
    expected = 0
    for s, t in ((3, 4), (5, 2)):
        for rows, columns, inner, times in (
            (s, 3 * 6, 6, 3),  # encoder: queries, keys and values
            (s, 6, 6, 3),
            (s, 10, 6, 3),
            (s, 6, 10, 3),
            (s, s, 6, 2 * 3),  # attention: weights, context
            (t, 3 * 6, 6, 3),  # decoder
            (t, 6, 6, 3),
            ((t + 1) / 2, t, 6, 2 * 3),
            (t, 6, 6, 3),  # cross-attention: queries, keys and values, result
            (s, 2 * 6, 6, 3),
            (t, 6, 6, 3),
            (t, s, 6, 2 * 3),
            (t, 10, 6, 3),
            (t, 6, 10, 3),
            (t, 20, 6, 1),  # words
        ):
            expected += 3 * times * 2 * rows * columns * inner  # a product has two gradients
    assert gpu_training.flops(model, batch) == expected


def result(contender, **more):
    parts = {"cell": "base-32x32", "contender": contender, "device": "NVIDIA H100 80GB HBM3"}
    parts.update(software="x", milliseconds=2.0, tokens_per_second=1e6, peak_bytes=2**30)
    return {**parts, "flops_per_second": 98.9e12, **more}


def test_table_and_exit_status(capsys):
    ours = result("tf_ls", tokens_per_second=3e6)
    assert gpu_training.report([result("stock"), ours], None) == 0
    out = capsys.readouterr().out
    assert "| base-32x32 | stock | 1,000,000 | 2.00 | 1.00 | 10.0% | 3.00 times |" in out
    failed = {"cell": "base-32x32", "contender": "torch", "error": "Error: out\nof memory\n[Op:x]"}
    assert gpu_training.report([result("stock"), failed], None) == 1
    assert "base-32x32 torch failed: of memory" in capsys.readouterr().out
    assert gpu_training.report([], None) == 1


@pytest.mark.slow
def test_runs_on_a_cpu_and_says_what_failed(tmp_path):
    lengths, out = tmp_path / "lengths", tmp_path / "out"
    lengths.write_text("5 7 400\n12 9 400\n")
    command = [sys.executable, str(BENCHMARKS / "gpu_training.py"), "--device", "cpu"]
    command += ["--cells", "tiny-4x8", "tiny-256", "--contenders", "stock", "tf_ls", "torch"]
    command += ["--rounds", "1", "--seconds", "0.1", "--lengths", str(lengths), "--out", str(out)]
    command += ["--torch-python", "false"]
    environment = tiny_task.environment(tmp_path)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    results = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(results) == 6
    for found in results:
        if found["contender"] == "torch":
            assert "ended with status 1" in found["error"]
        else:
            assert found["milliseconds"] > 0
            # 32 pairs of 12 and 16 of 21 tokens make a batch of 256 positions a side.
            low, high = (64, 64) if found["cell"] == "tiny-4x8" else (336, 384)
            assert low <= found["tokens"] <= high
