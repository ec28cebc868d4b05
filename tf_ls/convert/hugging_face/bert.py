"""BERT: the encoder, its pooler, and heads for classes, for words and for nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_ls.convert.error import ConversionError
from tf_ls.convert.hugging_face import config as config_file
from tf_ls.convert.weight_table import (
    Rule,
    Same,
    Transposed,
    Weights,
    WeightTable,
    columns,
    vectors,
)
from tf_ls.files import Model

Config = Mapping[str, Any]

FAMILY = "bert"

# Classes of Hugging Face's, and what their heads are for.
TASKS = {
    "BertModel": "",
    "BertForSequenceClassification": "text-classification",
    "BertForTokenClassification": "token-classification",
    "BertForMaskedLM": "fill-mask",
    "BertForPreTraining": "fill-mask",
}

_OPTIONS = config_file.Options(
    sizes={
        "vocab_size": ("src_embedding/token_embedding", 0),
        "hidden_size": ("src_embedding/token_embedding", 1),
        "max_position_embeddings": ("src_embedding/position_embedding", 0),
        "type_vocab_size": ("src_embedding/token_type_embedding", 0),
        "intermediate_size": ("encoder_stack/0/ffn_first_bias", 0),
    },
    layers={"num_hidden_layers": "encoder_stack"},
    settings={
        "num_attention_heads": "head_num",
        "layer_norm_eps": "epsilon",
        "pad_token_id": "src_padding_id",
    },
    activation="hidden_act",
    defaults={"layer_norm_eps": 1e-12, "pad_token_id": 0, "hidden_act": "gelu"},
    fixed={
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "add_cross_attention": False,
        "tie_word_embeddings": True,
        "pruned_heads": {},
    },
)

# What a classifier's logits are made into; model files say nothing of it, so it is a softmax.
_PROBLEM = "single_label_classification"


def read(config: Config, options: Config, weights: Weights) -> Model:
    """Returns the model of a configuration and its weights; it does not generate.

    Raises:
        ConversionError: something has no place in a model file; the message names it.
    """
    model = Model(FAMILY)
    task = _task(config)
    config_file.put_settings(_OPTIONS, config, model)
    model.settings.update(is_post_ln=True, task=task)
    layers = config_file.count_of(_OPTIONS, config, "num_hidden_layers")
    prefix = "bert." if any(name.startswith("bert.") for name in weights) else ""
    _table(layers, prefix, task).read(weights, model)
    config_file.check_sizes(_OPTIONS, config, model)
    if task.endswith("classification"):
        classes = model.shapes()["head/bias"][0]
        labels = config_file.labels_of(config) or [f"LABEL_{i}" for i in range(classes)]
        model.settings["labels"] = json.dumps(labels)
    return model


def write(model: Model) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Returns the JSON files and the weights of a model.

    Raises:
        ConversionError: the model has something that Hugging Face's has no place for.
    """
    if not model.setting("is_post_ln"):
        raise ConversionError("model_conf/is_post_ln: expected True: BERT's layers are post-norm")
    if model.setting("multilg_type"):
        raise ConversionError("model_conf/multilg_type: expected 0: BERT has no languages")
    task = model.setting("task")
    architecture = next(name for name, own in TASKS.items() if own == task)
    weights = _table(model.layers("encoder_stack"), "bert." if task else "", task).write(model)
    config = {
        "model_type": "bert",
        "architectures": [architecture],
        **config_file.of_model(_OPTIONS, model),
    }
    if task.endswith("classification"):
        labels = model.labels() or [f"LABEL_{i}" for i in range(model.shapes()["head/bias"][0])]
        config["id2label"] = {str(i): label for i, label in enumerate(labels)}
        config["label2id"] = {label: i for i, label in enumerate(labels)}
    return {config_file.FILE: config}, weights


def _task(config: Config) -> str:
    task = TASKS[config_file.check_architecture(config, list(TASKS))]
    problem = config.get("problem_type") or _PROBLEM
    if task == "text-classification" and problem != _PROBLEM:
        raise ConversionError(f"config.json/problem_type: expected {_PROBLEM}, got {problem}")
    return task


def _table(layers: int, prefix: str, task: str) -> WeightTable:
    embeddings = f"{prefix}embeddings"
    fields: dict[str, Rule] = {
        "src_embedding/token_embedding": Same(f"{embeddings}.word_embeddings.weight"),
        "src_embedding/position_embedding": Same(f"{embeddings}.position_embeddings.weight"),
        "src_embedding/token_type_embedding": Same(f"{embeddings}.token_type_embeddings.weight"),
        "src_embedding/norm_scale": Same(f"{embeddings}.LayerNorm.weight"),
        "src_embedding/norm_bias": Same(f"{embeddings}.LayerNorm.bias"),
        "pooler/kernel": Transposed(f"{prefix}pooler.dense.weight"),
        "pooler/bias": Same(f"{prefix}pooler.dense.bias"),
    }
    for i in range(layers):
        fields.update(_layer(f"encoder_stack/{i}", f"{prefix}encoder.layer.{i}"))
    if task.endswith("classification"):
        fields["head/kernel"] = Transposed("classifier.weight")
        fields["head/bias"] = Same("classifier.bias")
    if task == "fill-mask":
        fields.update(
            {
                "mlm_head/kernel": Transposed("cls.predictions.transform.dense.weight"),
                "mlm_head/bias": Same("cls.predictions.transform.dense.bias"),
                "mlm_head/norm_scale": Same("cls.predictions.transform.LayerNorm.weight"),
                "mlm_head/norm_bias": Same("cls.predictions.transform.LayerNorm.bias"),
                "mlm_head/output_bias": Same("cls.predictions.bias"),
            }
        )
    return WeightTable(
        fields,
        # Where nothing reads the pooled output, checkpoints may be without it.
        optional=() if task == "text-classification" else ("pooler/",),
        copies={
            "cls.predictions.decoder.weight": f"{embeddings}.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
        no_weights=[r".*embeddings\.position_ids", r".*embeddings\.token_type_ids"],
        left_out=[r"cls\.seq_relationship\..*"],
    )


def _layer(field: str, name: str) -> dict[str, Rule]:
    attention = f"{name}.attention.self"
    projections = [f"{attention}.{part}" for part in ("query", "key", "value")]
    return {
        f"{field}/multihead_norm_scale": Same(f"{name}.attention.output.LayerNorm.weight"),
        f"{field}/multihead_norm_bias": Same(f"{name}.attention.output.LayerNorm.bias"),
        f"{field}/multihead_project_kernel_qkv": columns(*(f"{p}.weight" for p in projections)),
        f"{field}/multihead_project_bias_qkv": vectors(*(f"{p}.bias" for p in projections)),
        f"{field}/multihead_project_kernel_output": Transposed(
            f"{name}.attention.output.dense.weight"
        ),
        f"{field}/multihead_project_bias_output": Same(f"{name}.attention.output.dense.bias"),
        f"{field}/ffn_norm_scale": Same(f"{name}.output.LayerNorm.weight"),
        f"{field}/ffn_norm_bias": Same(f"{name}.output.LayerNorm.bias"),
        f"{field}/ffn_first_kernel": Transposed(f"{name}.intermediate.dense.weight"),
        f"{field}/ffn_first_bias": Same(f"{name}.intermediate.dense.bias"),
        f"{field}/ffn_second_kernel": Transposed(f"{name}.output.dense.weight"),
        f"{field}/ffn_second_bias": Same(f"{name}.output.dense.bias"),
    }
