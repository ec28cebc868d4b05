"""What model files compute, in NumPy and float64, sentence by sentence."""

import numpy as np

from tf_ls.files.definitions import ENCODER_LAYER
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
