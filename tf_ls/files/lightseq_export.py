"""A trained LSTransformer as a model file, part by part, with LightSeq's functions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Union

import h5py
import numpy as np

from tf_ls.files import hdf5_file
from tf_ls.files.definitions import DECODER_LAYER, ENCODER_LAYER, LAYER_COUNT, TRANSFORMER
from tf_ls.files.model import InvalidModelFile, Model, Numbers, check_setting

StateDict = Mapping[str, np.ndarray]
File = Union[Model, h5py.File]

# The names of a layer's variables, in the order of the fields that they are.
_SELF_ATTENTION = [
    f"self_attention_prepost_wrapper/{name}"
    for name in (
        "ln/gamma",
        "ln/beta",
        "self_attention/qkv_transform/kernel",
        "self_attention/qkv_transform/bias",
        "self_attention/output_transform/kernel",
        "self_attention/output_transform/bias",
    )
]
_CROSS_ATTENTION = [
    f"encdec_attention_prepost_wrapper/{name}"
    for name in (
        "ln/gamma",
        "ln/beta",
        "encdec_attention/q_transform/kernel",
        "encdec_attention/q_transform/bias",
        "encdec_attention/output_transform/kernel",
        "encdec_attention/output_transform/bias",
    )
]
_FEED_FORWARD = [
    f"ffn_prepost_wrapper/{name}"
    for name in (
        "ln/gamma",
        "ln/beta",
        "ffn/dense1/kernel",
        "ffn/dense1/bias",
        "ffn/dense2/kernel",
        "ffn/dense2/bias",
    )
]
# Of a layer of the encoder, as ENCODER_LAYER has its fields, and of the decoder.
ENCODER_VARIABLES = [*_SELF_ATTENTION, *_FEED_FORWARD]
DECODER_VARIABLES = [*_SELF_ATTENTION, *_CROSS_ATTENTION, *_FEED_FORWARD]
KEYS_AND_VALUES = "encdec_attention_prepost_wrapper/encdec_attention/kv_transform"
_SHARED_TABLE = "shared_symbol_modality_posenc_wrapper/shared_symbol_modality"


def state_dict(model: Any) -> dict[str, np.ndarray]:
    """Returns the variables of an LSTransformer, or of one of NeurST's, by their names.

    The names are without that of the model, and the same under Keras 2 and Keras 3.
    """
    variables = {}
    for weight in model.weights:
        if hasattr(weight, "path"):  # Keras 3
            name = weight.path.replace(".", "/")
        else:
            name = weight.name.split(":")[0]
        if name.startswith(f"{model.name}/"):
            name = name[len(model.name) + 1 :]
        variables[name] = weight.numpy()
    return variables


def export_ls_config(
    file: File,
    head_num: int,
    src_padding_id: int,
    trg_start_id: int,
    trg_end_id: int,
    n_encoder_stack: int,
    n_decoder_stack: int,
    is_post_ln: bool = False,
    no_scale_embedding: bool = False,
    use_gelu: bool = False,
    beam_size: int = 4,
    length_penalty: float = 0.6,
    extra_decode_length: int = 50,
    sampling_method: str = "beam_search",
    topk: int = 1,
    topp: float = 0.75,
    diverse_lambda: float = 0,
    save_pb: bool = True,
    *,
    epsilon: float = 1e-6,
) -> None:
    """Puts the configuration of a Transformer into a file.

    Args:
        file: a `Model`, which `write` writes as Protocol Buffers, or with save_pb=False an open
            h5py.File.
        n_encoder_stack, n_decoder_stack: how many layers there are; in Protocol Buffers they are
            counted.
        no_scale_embedding: whether the tables of words are without the factor sqrt(H), with which
            `export_ls_embedding` writes them.
        epsilon: of the norms, which LightSeq's files do not have.
        the others: settings of LightSeq's of the same names.

    Raises:
        ValueError: a setting that is none of its kind.
        TypeError: a file of the other format.
    """
    settings = {
        "head_num": head_num,
        "beam_size": beam_size,
        "extra_decode_length": extra_decode_length,
        "length_penalty": length_penalty,
        "src_padding_id": src_padding_id,
        "trg_start_id": trg_start_id,
        "diverse_lambda": diverse_lambda,
        "sampling_method": sampling_method,
        "topp": topp,
        "topk": topk,
        "trg_end_id": trg_end_id,
        "is_post_ln": is_post_ln,
        "no_scale_embedding": no_scale_embedding,
        "use_gelu": use_gelu,
        "multilg_type": 0,
        "epsilon": epsilon,
    }
    counts = {"encoder_stack": n_encoder_stack, "decoder_stack": n_decoder_stack}
    for name, value in settings.items():
        check_setting(name, TRANSFORMER.settings[name], value)
    for stack, count in counts.items():
        check_setting(f"n_{stack}", LAYER_COUNT, count)
    _check_file(file, save_pb)
    for name, value in settings.items():
        if isinstance(file, Model):
            file.settings[name] = value
        else:
            hdf5_file.put_setting(file, TRANSFORMER, name, value)
    if isinstance(file, h5py.File):
        for stack, count in counts.items():
            hdf5_file.put_count(file, stack, count)


def export_ls_embedding(
    file: File,
    state_dict: StateDict,
    max_length: int,
    emb_dim: int,
    is_encoder: bool,
    save_pb: bool = True,
) -> None:
    """Puts an embedding into a file: words times sqrt(emb_dim), positions, and what else is there.

    That is the norm behind the stack, and of the decoder the bias of the output layer.

    Args:
        file: as for `export_ls_config`.
        state_dict: what the function of this name returns.
        max_length: how many positions to write; sentences cannot become longer.
        emb_dim: the hidden size H.
        is_encoder: whose embedding it is.

    Raises:
        ValueError: variables that are missing, or of another size; an output layer with a table of
            its own, which LightSeq's files cannot have.
        TypeError: a file of the other format.
    """
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1, got {max_length}")
    side = "input" if is_encoder else "target"
    own = f"{side}_symbol_modality_posenc_wrapper/{side}_symbol_modality"
    if not is_encoder and "softmax_linear/kernel" in state_dict:
        raise ValueError(
            "the output layer has a table of its own (softmax_linear/kernel), but in LightSeq's"
            " files it is that of the target's words: share_embedding_and_softmax_weights is needed"
        )
    words = _first(
        state_dict, *(f"{m}/{w}/weights" for m in (own, _SHARED_TABLE) for w in ("emb", "shared"))
    )
    _expect(words, "the table of words", (None, emb_dim))
    words = words * np.float32(math.sqrt(emb_dim))
    part = "src_embedding" if is_encoder else "trg_embedding"
    numbers = {
        "token_embedding": words if is_encoder else words.T,
        "position_embedding": sinusoids(max_length, emb_dim),
    }
    stack = "TransformerEncoder" if is_encoder else "TransformerDecoder"
    if f"{stack}/output_ln/gamma" in state_dict:
        numbers["norm_scale"] = state_dict[f"{stack}/output_ln/gamma"]
        numbers["norm_bias"] = _first(state_dict, f"{stack}/output_ln/beta")
    if not is_encoder:
        numbers["shared_bias"] = _first(
            state_dict, *(f"{modality}/shared/bias" for modality in (own, _SHARED_TABLE))
        )
    _put(file, {f"{part}/{name}": array for name, array in numbers.items()}, save_pb)


def export_ls_encoder(
    file: File,
    state_dict: StateDict,
    hidden_size: int,
    intermediate_size: int,
    save_pb: bool = True,
) -> None:
    """Puts the layers of the encoder into a file; the norm behind them is with the embedding.

    Args:
        file: as for `export_ls_config`.
        state_dict: what the function of this name returns.
        hidden_size, intermediate_size: what the variables must have.

    Raises:
        ValueError: variables that are missing, or of another size.
        TypeError: a file of the other format.
    """
    sizes = {"H": hidden_size, "I": intermediate_size}
    numbers = {}
    for i in range(_count(state_dict, "TransformerEncoder")):
        for name, field, variable in zip(ENCODER_LAYER, ENCODER_LAYER.values(), ENCODER_VARIABLES):
            array = _first(state_dict, f"TransformerEncoder/layer_{i}/{variable}")
            numbers[f"encoder_stack/{i}/{name}"] = _shaped(variable, array, field.shape, sizes)
    _put(file, numbers, save_pb)


def export_ls_decoder(
    file: File,
    state_dict: StateDict,
    hidden_size: int,
    intermediate_size: int,
    nlayer: int,
    save_pb: bool = True,
) -> None:
    """Puts the layers of the decoder into a file.

    Their projections of the encoder's output are one field of the target's embedding.

    Args:
        file: as for `export_ls_config`.
        state_dict: what the function of this name returns.
        hidden_size, intermediate_size: what the variables must have.
        nlayer: how many layers there must be.

    Raises:
        ValueError: variables that are missing, or of another size.
        TypeError: a file of the other format.
    """
    layers = _count(state_dict, "TransformerDecoder")
    if layers != nlayer:
        raise ValueError(f"expected {nlayer} layers of the decoder, got {layers}")
    sizes = {"H": hidden_size, "I": intermediate_size}
    numbers, kernels, biases = {}, [], []
    for i in range(layers):
        layer = f"TransformerDecoder/layer_{i}"
        for name, field, variable in zip(DECODER_LAYER, DECODER_LAYER.values(), DECODER_VARIABLES):
            array = _first(state_dict, f"{layer}/{variable}")
            numbers[f"decoder_stack/{i}/{name}"] = _shaped(variable, array, field.shape, sizes)
        for suffix, arrays, shape in (
            ("kernel", kernels, ("H", 2, "H")),
            ("bias", biases, (2, "H")),
        ):
            array = _first(state_dict, f"{layer}/{KEYS_AND_VALUES}/{suffix}")
            arrays.append(_shaped(f"{KEYS_AND_VALUES}/{suffix}", array, shape, sizes))
    numbers["trg_embedding/encode_output_project_kernel_kv"] = np.stack(kernels, axis=1)
    numbers["trg_embedding/encode_output_project_bias_kv"] = np.stack(biases)
    _put(file, numbers, save_pb)


def export_pb2hdf5(transformer: Model, file: h5py.File) -> None:
    """Puts what was read from, or is to be, a file of Protocol Buffers into one of HDF5.

    Raises:
        InvalidModelFile: what is missing of it, or does not fit.
        TypeError: an argument of another kind.
    """
    _check_file(transformer, save_pb=True)
    _check_file(file, save_pb=False)
    transformer.check()
    hdf5_file.put_model(file, transformer)


def sinusoids(positions: int, hidden_size: int) -> np.ndarray:
    """Returns the timing signal of `tf_ls.ops.embedding` as a table [positions, hidden_size].

    Vaswani et al., "Attention is all you need", 2017: sines in the first half of a row, cosines in
    the second, and a zero behind them if the size is odd.
    """
    half = hidden_size // 2
    rates = np.exp(np.arange(half) * -(math.log(10000.0) / max(half - 1, 1)))
    angles = np.arange(positions)[:, None] * rates
    table = np.zeros([positions, hidden_size], np.float32)
    table[:, :half], table[:, half : 2 * half] = np.sin(angles), np.cos(angles)
    return table


def _check_file(file: File, save_pb: bool) -> None:
    expected = Model if save_pb else h5py.File
    if not isinstance(file, expected) or (save_pb and file.family is not TRANSFORMER):
        kind = 'tf_ls.files.Model("transformer")' if save_pb else "h5py.File"
        raise TypeError(f"expected a {kind} with save_pb={save_pb}, got {file!r}")


def _put(file: File, numbers: Mapping[str, np.ndarray], save_pb: bool) -> None:
    _check_file(file, save_pb)
    for name, array in numbers.items():
        if isinstance(file, Model):
            file.put(name, array)
        else:
            flat = np.ascontiguousarray(array, np.float32).ravel()
            hdf5_file.put_numbers(file, name, Numbers("float32", [flat]))


def _count(state_dict: StateDict, stack: str) -> int:
    """How many layers a stack has."""
    matches = (re.match(rf"{stack}/layer_(\d+)/", name) for name in state_dict)
    layers = {int(match[1]) for match in matches if match}
    if not layers:
        raise InvalidModelFile(f"expected variables {stack}/layer_0/..., got {sorted(state_dict)}")
    return max(layers) + 1


def _first(state_dict: StateDict, *names: str) -> np.ndarray:
    """The first of variables that there is."""
    for name in names:
        if name in state_dict:
            return np.asarray(state_dict[name])
    raise InvalidModelFile(f"expected a variable {' or '.join(names)}, got {sorted(state_dict)}")


def _expect(array: np.ndarray, name: str, shape: tuple) -> None:
    if array.ndim != len(shape) or any(s not in (None, n) for s, n in zip(shape, array.shape)):
        raise InvalidModelFile(f"{name}: expected the shape {shape}, got {array.shape}")


def _shaped(
    name: str, array: np.ndarray, shape: tuple[Union[str, int], ...], sizes: Mapping[str, int]
) -> np.ndarray:
    """A variable in the shape of a field: the variable has less dimensions, which it merges."""
    sized = [s if isinstance(s, int) else sizes[s] for s in shape]
    expected = math.prod(sized)
    if array.size != expected or array.shape[0] not in (sized[0], expected):
        raise InvalidModelFile(f"{name}: expected the shape {tuple(sized)}, got {array.shape}")
    return array.reshape(sized)
