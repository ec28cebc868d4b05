"""Inference of BERT-base: Hugging Face's PyTorch, ONNX Runtime and tf_ls in one run.

    python benchmarks/encoder_inference.py [--cells 8x128-half ...] [--contenders ...]
    python benchmarks/encoder_inference.py --device gpu

A cell's name says sentences x length, and whether half of all positions are padding: then lengths
lie evenly between a few tokens and all, and a single sentence has half. The weights are random, the
same for all. Each contender goes from ids in NumPy to hidden states in NumPy, on a GPU to hidden
states there. Those of PyTorch and of ONNX Runtime that are in int8 have the matrices of linear
layers in it, per channel, and activations dynamically quantized, as tf_ls has.

On a CPU: PyTorch is transformers' BertModel with its default attention (SDPA); ONNX Runtime has the
same model, exported by PyTorch and put through ONNX Runtime's own optimizer for BERT. On a GPU, in
float16: the BERT of torch_bert.py with SDPA and torch.compile, that of stock_bert.py in stock
TensorFlow with XLA, each compiled for every cell's shape.

A process for each contender; they take turns, `--rounds` times, and a cell's figures are the
medians of its rounds, each the fastest of `--calls` calls. The last column is the error of the
hidden states at tokens, ||a - b|| / ||b|| against the first contender.

Needed on a CPU: transformers, torch, onnx, onnxruntime, of which those that are missing are failed
contenders. No figures of a CPU have been taken yet.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Callable, NamedTuple

import contest
import numpy as np
from random_models import random_bert

from tf_ls import convert, files

CPU_CONTENDERS = ("torch", "torch-int8", "onnxruntime", "onnxruntime-int8")
CPU_CONTENDERS += ("tf_ls", "tf_ls-bfloat16", "tf_ls-int8", "tf_ls-int8_bfloat16")
GPU_CONTENDERS = ("torch", "torch-compiled", "tensorflow-xla", "tf_ls", "tf_ls-bfloat16")
CELLS = [f"{b}x{s}-{kind}" for b in (1, 8, 32) for s in (32, 128) for kind in ("full", "half")]
MODEL_FILE, FOLDER = "bert.pb", "hugging_face"
LAYERS, HEADS, WORDS = 12, 12, 30522


class Cell(NamedTuple):
    sentences: int
    length: int
    half: bool

    @property
    def lengths(self) -> np.ndarray:
        """Of the sentences; the longest, if there are several, has no padding."""
        if not self.half:
            return np.full(self.sentences, self.length)
        if self.sentences == 1:
            return np.array([self.length // 2])
        return np.linspace(self.length, 1, self.sentences).round().astype(int)

    @property
    def ids(self) -> np.ndarray:
        """int64 [sentences, length]; the padding is 0."""
        ids = np.random.default_rng(self.length).integers(1, WORDS, (self.sentences, self.length))
        return np.where(self.mask, ids, 0)

    @property
    def mask(self) -> np.ndarray:
        """int64 [sentences, length], 1 at tokens."""
        return (np.arange(self.length) < self.lengths[:, np.newaxis]).astype(np.int64)


def main() -> None:
    parser = contest.parser_of(__doc__.splitlines()[0], CELLS)
    args = parser.parse_args()
    for cell in args.cells:
        parse_cell(cell)
    contenders = GPU_CONTENDERS if args.device == "gpu" else CPU_CONTENDERS

    def make(name: str, args: argparse.Namespace) -> contest.Contender:
        return CONTENDERS[name.split("-")[0], args.device](name, args)

    contest.main(args, contenders, write_models, make, relative_error)


def parse_cell(name: str) -> Cell:
    size, _, kind = name.partition("-")
    sentences, _, length = size.partition("x")
    if kind not in ("full", "half") or not sentences.isdigit() or not length.isdigit():
        raise SystemExit(f"expected SENTENCESxLENGTH-full or -half, got {name}")
    return Cell(int(sentences), int(length), kind == "half")


def write_models(folder: Path, args: argparse.Namespace) -> None:
    """Writes a model file and, for CPUs, Hugging Face's folder."""
    model = random_bert(LAYERS, 64 * HEADS, HEADS, WORDS)
    files.write(model, folder / MODEL_FILE)
    if args.device == "cpu":
        convert.write(model, folder / FOLDER, to="hugging_face")


def relative_error(states: np.ndarray, wanted: np.ndarray) -> float:
    return np.linalg.norm(states - wanted) / np.linalg.norm(wanted)


class BertContender:
    """Returns hidden states."""

    def result(self, cell: str, output: Any) -> np.ndarray:
        """The states of tokens."""
        return self.states(output)[parse_cell(cell).mask > 0]

    def states(self, output: Any) -> np.ndarray:
        return output


class OursOnCpu(BertContender):
    def __init__(self, contender: str, args: argparse.Namespace):
        import tensorflow as tf

        import tf_ls
        import tf_ls.inference as lsi

        tf.config.set_visible_devices([], "GPU")
        tf.config.threading.set_intra_op_parallelism_threads(args.threads)
        precision = contender.partition("-")[2] or "float32"
        self._model = lsi.Bert(args.folder / MODEL_FILE, 1024, precision=precision)
        self.software = f"tf_ls {tf_ls.__version__} on TensorFlow {tf.__version__}"

    def prepared(self, name: str) -> Callable[[], Any]:
        ids = parse_cell(name).ids
        return lambda: self._model.infer(ids)


class OursOnGpu(BertContender):
    """The signature itself, whose output stays on the GPU."""

    def __init__(self, contender: str, args: argparse.Namespace):
        import tensorflow as tf

        import tf_ls
        from tf_ls.export import modules, sources

        if not tf.config.list_physical_devices("GPU"):
            raise RuntimeError("TensorFlow sees no GPU")
        self._tf = tf
        described = sources.describe_path(args.folder / MODEL_FILE, "bert")
        module = modules.module_of(described, contender.partition("-")[2] or "float16")
        self._function = module.signatures()["hidden_states"]
        self.software = f"tf_ls {tf_ls.__version__} on TensorFlow {tf.__version__}"

    def prepared(self, name: str) -> Callable[[], Any]:
        ids = parse_cell(name).ids
        types = np.zeros_like(ids)

        def call() -> Any:
            with self._tf.device("/CPU:0"):  # where the operation reads them
                inputs = {"ids": self._tf.constant(ids), "token_types": self._tf.constant(types)}
            states = self._function(**inputs)["hidden_states"]
            self._tf.test.experimental.sync_devices()
            return states

        return call

    def states(self, output: Any) -> np.ndarray:
        return output.numpy()


class TorchOnCpu(BertContender):
    def __init__(self, contender: str, args: argparse.Namespace):
        import torch
        import transformers

        self._torch = torch
        torch.set_num_threads(args.threads)
        self._model = transformers.BertModel.from_pretrained(args.folder / FOLDER).eval()
        if contender.endswith("int8"):
            self._model = torch.ao.quantization.quantize_dynamic(
                self._model, {torch.nn.Linear}, dtype=torch.qint8
            )
        self.software = f"PyTorch {torch.__version__}, transformers {transformers.__version__}"

    def prepared(self, name: str) -> Callable[[], Any]:
        cell = parse_cell(name)
        ids, mask = cell.ids, cell.mask

        def call() -> np.ndarray:
            with self._torch.inference_mode():
                tensors = [self._torch.from_numpy(array) for array in (ids, mask)]
                output = self._model(input_ids=tensors[0], attention_mask=tensors[1])
                return output.last_hidden_state.numpy()

        return call


class OnnxRuntime(BertContender):
    def __init__(self, contender: str, args: argparse.Namespace):
        import onnxruntime

        path = onnx_model(args.folder, int8=contender.endswith("int8"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.software = f"ONNX Runtime {onnxruntime.__version__}"

    def prepared(self, name: str) -> Callable[[], Any]:
        cell = parse_cell(name)
        inputs = {"ids": cell.ids, "mask": cell.mask}
        return lambda: self._session.run(None, inputs)[0]


def onnx_model(folder: Path, int8: bool) -> Path:
    """Exports Hugging Face's model, optimized for inference; returns its path."""
    import onnx
    import torch
    import transformers
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer

    model = transformers.BertModel.from_pretrained(
        folder / FOLDER, attn_implementation="eager", add_pooling_layer=False
    ).eval()
    exported, optimized, quantized = (
        folder / f"{'int8' if int8 else 'float32'}-{stage}.onnx" for stage in ("a", "b", "c")
    )
    ids = torch.ones([2, 8], dtype=torch.int64)
    torch.onnx.export(
        _HiddenStates.of(model),
        (ids, ids),
        str(exported),
        input_names=["ids", "mask"],
        output_names=["states"],
        dynamic_axes={name: {0: "batch", 1: "length"} for name in ("ids", "mask", "states")},
        opset_version=17,
        dynamo=False,
    )
    graph = optimizer.optimize_model(str(exported), "bert", num_heads=HEADS, hidden_size=64 * HEADS)
    graph.save_model_to_file(str(optimized))
    if not int8:
        return optimized
    quantize_dynamic(
        optimized,
        quantized,
        weight_type=QuantType.QInt8,
        per_channel=True,
        # ONNX does not know the types of what the optimizer's operations give.
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )
    return quantized


class _HiddenStates:
    """Makes a module that returns hidden states alone."""

    @staticmethod
    def of(model: Any) -> Any:
        import torch

        class Module(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, ids, mask):
                return self.model(input_ids=ids, attention_mask=mask).last_hidden_state

        return Module().eval()


class TorchOnGpu(BertContender):
    def __init__(self, contender: str, args: argparse.Namespace):
        import torch
        import torch_bert

        self._torch = torch
        weights = files.read(args.folder / MODEL_FILE, "bert")
        self._model = torch_bert.Bert(weights, HEADS).to("cuda", torch.float16).eval()
        if contender.endswith("compiled"):
            # Behind so many shapes, 8 by default, it would run uncompiled and say nothing.
            torch._dynamo.config.cache_size_limit = 64
            self._model = torch.compile(self._model, dynamic=False)
        self.software = f"PyTorch {torch.__version__}"

    def prepared(self, name: str) -> Callable[[], Any]:
        cell = parse_cell(name)
        ids, mask = cell.ids, None if cell.mask.all() else cell.mask

        def call() -> Any:
            with self._torch.inference_mode():
                tensors = [
                    None if array is None else self._torch.from_numpy(array).to("cuda")
                    for array in (ids, mask)
                ]
                states = self._model(*tensors)
            self._torch.cuda.synchronize()
            return states

        call()  # compiles
        return call

    def states(self, output: Any) -> np.ndarray:
        return output.float().cpu().numpy()


class StockOnGpu(BertContender):
    def __init__(self, contender: str, args: argparse.Namespace):
        import stock_bert
        import tensorflow as tf

        weights = files.read(args.folder / MODEL_FILE, "bert")
        self._function = tf.function(stock_bert.Bert(weights, HEADS, tf.float16), jit_compile=True)
        self._tf = tf
        self.software = f"TensorFlow {tf.__version__}"

    def prepared(self, name: str) -> Callable[[], Any]:
        cell = parse_cell(name)
        ids, mask = cell.ids, cell.mask

        def call() -> Any:
            states = self._function(*map(self._tf.constant, (ids, mask)))
            self._tf.test.experimental.sync_devices()
            return states

        call()  # compiles
        return call

    def states(self, output: Any) -> np.ndarray:
        return output.numpy().astype(np.float32)


CONTENDERS = {
    ("tf_ls", "cpu"): OursOnCpu,
    ("tf_ls", "gpu"): OursOnGpu,
    ("torch", "cpu"): TorchOnCpu,
    ("torch", "gpu"): TorchOnGpu,
    ("onnxruntime", "cpu"): OnnxRuntime,
    ("tensorflow", "gpu"): StockOnGpu,
}


if __name__ == "__main__":
    main()
