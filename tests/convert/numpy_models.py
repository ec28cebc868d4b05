"""What model files compute, in NumPy and float64, sentence by sentence."""

import numpy as np

from tf_ls.files.definitions import DECODER_LAYER, ENCODER_LAYER
from tf_ls.testing import reference


def weight(model, name):
    """A field as the reference takes it."""
    array = model.float32(name)
    return array.ravel() if "bias" in name else array.reshape(len(array), -1).squeeze()


def norm(model, part, x, name="norm"):
    scale, bias = (weight(model, f"{part}/{name}_{field}") for field in ("scale", "bias"))
    return reference.layer_norm(x, scale, bias, model.setting("epsilon"))


def dense(model, part, x):
    return x @ weight(model, f"{part}/kernel") + weight(model, f"{part}/bias")


def encoder_stack(model, x, pre_norm, causal=False):
    for i in range(model.layers("encoder_stack")):
        weights = [weight(model, f"encoder_stack/{i}/{name}") for name in ENCODER_LAYER]
        x = reference.encoder_layer(
            x,
            weights,
            model.setting("head_num"),
            pre_norm,
            model.setting("activation"),
            model.setting("epsilon"),
            causal=causal,
        )
    return x


def bert(model, ids, types=None):
    """The hidden states [L, H] of ids [L] and their token types."""
    ids = np.asarray(ids)
    x = model.float32("src_embedding/token_embedding")[ids].astype(np.float64)
    x += model.float32("src_embedding/position_embedding")[: len(ids)]
    x += model.float32("src_embedding/token_type_embedding")[0 if types is None else types]
    return encoder_stack(model, norm(model, "src_embedding", x), pre_norm=False)


def bert_logits(model, ids, types=None):
    """What the head of a task makes of a sentence."""
    x = bert(model, ids, types)
    task = model.setting("task")
    if task == "text-classification":
        return dense(model, "head", np.tanh(dense(model, "pooler", x[0])))
    if task == "token-classification":
        return dense(model, "head", x)
    x = reference.activate(dense(model, "mlm_head", x), model.setting("activation"))
    x = norm(model, "mlm_head", x)
    table = model.float32("src_embedding/token_embedding")
    return x @ table.T + weight(model, "mlm_head/output_bias")


def gpt_logits(model, ids):
    """The logits [L, V] behind each of ids [L]."""
    table = model.float32("src_embedding/token_embedding")
    x = table[ids] + model.float32("src_embedding/position_embedding")[: len(ids)]
    x = encoder_stack(model, x.astype(np.float64), pre_norm=True, causal=True)
    return norm(model, "src_embedding", x) @ table.T


def transformer_logits(model, source, target_input):
    """The logits [T, V] of one sentence of ids [S], without padding, and of ids [T]."""
    pre_norm = not model.setting("is_post_ln")
    structure = (
        model.setting("head_num"),
        pre_norm,
        model.setting("activation"),
        model.setting("epsilon"),
    )
    table = model.float32("trg_embedding/token_embedding").T.astype(np.float64)
    words = model.float32("src_embedding/token_embedding")
    memory = _embedded(model, "src_embedding", words, source)
    memory = encoder_stack(model, memory, pre_norm)
    x = _embedded(model, "trg_embedding", table, target_input)
    kernels = model.float32("trg_embedding/encode_output_project_kernel_kv")
    biases = model.float32("trg_embedding/encode_output_project_bias_kv")
    if pre_norm:
        memory = norm(model, "src_embedding", memory)
    for i in range(model.layers("decoder_stack")):
        weights = [weight(model, f"decoder_stack/{i}/{name}") for name in DECODER_LAYER]
        weights[10:10] = [kernels[:, i].reshape(len(kernels), -1), biases[i].ravel()]
        x = reference.decoder_layer(x, memory, weights, *structure)
    if pre_norm:
        x = norm(model, "trg_embedding", x)
    scale = 1.0 if model.setting("no_scale_embedding") else np.sqrt(table.shape[1])
    output = table / scale
    if "trg_embedding/output_kernel" in model.shapes():
        output = model.float32("trg_embedding/output_kernel").T
    return x @ output.T + model.float32("trg_embedding/shared_bias")


def _embedded(model, part, table, ids):
    x = table[ids].astype(np.float64) + model.float32(f"{part}/position_embedding")[: len(ids)]
    for name in ("embedding_norm", *(["norm"] if model.setting("is_post_ln") else [])):
        if f"{part}/{name}_scale" in model.shapes():
            x = norm(model, part, x, name)
    return x
