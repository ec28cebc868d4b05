"""The fields of model files: one table, of which readers, writers, checks and documents are made.

Names, numbers and shapes are LightSeq's. What tf_ls adds has numbers from 32 on and is optional:
LightSeq skips it. In HDF5 a field is named by its place: encoder_stack/0/ffn_first_kernel.

Sizes: H hidden, I within the feed-forward network, L decoder layers, N classes; of each embedding V
words, P positions, T token types, G languages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Union

# Sizes that each embedding has its own of.
SIZES_OF_A_PART = frozenset("VPTG")

# The number of a field in another dtype is this much higher, and its numbers are bytes, little
# endian; those of int8's scales are floats.
FLOAT16, BFLOAT16, INT8, INT8_SCALES = (1000 * i for i in (1, 2, 3, 4))

FIRST_OWN_NUMBER = 32

# Bytes that a setting may have, and one that is JSON.
LONGEST_STRING = 64
LONGEST_JSON = 1 << 16

COLUMNS, ROWS = "columns", "rows"


class Field(NamedTuple):
    """Numbers of a message, row-major."""

    number: int
    shape: tuple[Union[str, int], ...]
    optional: bool = False

    scales: str = ""
    """In int8: whether all numbers of a row (of the first index) have one scale, or of a column (of
    the other indices); neither: it is never in int8."""


class Part(NamedTuple):
    """A message of fields, or as many as a stack has layers."""

    number: int
    fields: Mapping[str, Field]
    repeated: bool = False
    optional: bool = False

    sizes_of: str = ""
    """The embedding whose sizes these fields have (V, P, T, G); none: sizes of its own."""


class Setting(NamedTuple):
    """A scalar of the model's configuration."""

    number: int
    kind: str
    """int32, float, bool or string."""

    longest: int = LONGEST_STRING
    """Of a string, in characters of ASCII."""


class Family(NamedTuple):
    """A kind of model: LightSeq's message of all of its parts."""

    name: str
    parts: Mapping[str, Part]
    settings_number: int
    settings: Mapping[str, Setting]

    @property
    def stacks(self) -> list[str]:
        return [name for name, part in self.parts.items() if part.repeated]


SETTINGS = "model_conf"

# n_encoder_stack and n_decoder_stack, which HDF5 has among the settings, and messages need not.
LAYER_COUNT = Setting(0, "int32")


def _vector(number: int, *shape: Union[str, int], optional: bool = False) -> Field:
    return Field(number, shape or ("H",), optional)


def _matrix(number: int, *shape: Union[str, int]) -> Field:
    return Field(number, shape, scales=COLUMNS)


def _table(number: int, *shape: str, optional: bool = False) -> Field:
    return Field(number, shape, optional, ROWS)


def _feed_forward(first: int) -> dict[str, Field]:
    return {
        "ffn_norm_scale": _vector(first),
        "ffn_norm_bias": _vector(first + 1),
        "ffn_first_kernel": _matrix(first + 2, "H", "I"),
        "ffn_first_bias": _vector(first + 3, "I"),
        "ffn_second_kernel": _matrix(first + 4, "I", "H"),
        "ffn_second_bias": _vector(first + 5),
    }


def _self_attention(name: str) -> dict[str, Field]:
    return {
        f"{name}_norm_scale": _vector(1),
        f"{name}_norm_bias": _vector(2),
        f"{name}_project_kernel_qkv": _matrix(3, "H", 3, "H"),
        f"{name}_project_bias_qkv": _vector(4, 3, "H"),
        f"{name}_project_kernel_output": _matrix(5, "H", "H"),
        f"{name}_project_bias_output": _vector(6),
    }


ENCODER_LAYER = {**_self_attention("multihead"), **_feed_forward(7)}

DECODER_LAYER = {
    **_self_attention("self"),
    "encdec_norm_scale": _vector(7),
    "encdec_norm_bias": _vector(8),
    "encdec_project_kernel_q": _matrix(9, "H", "H"),
    "encdec_project_bias_q": _vector(10),
    "encdec_project_kernel_output": _matrix(11, "H", "H"),
    "encdec_project_bias_output": _vector(12),
    **_feed_forward(13),
}

# The norm is behind a stack of pre-norm layers, where it must be; models of post-norm layers may
# have it in front of theirs.
NORM = {
    "norm_scale": _vector(3, "H", optional=True),
    "norm_bias": _vector(4, "H", optional=True),
}

_EMBEDDING = {
    "token_embedding": _table(1, "V", "H"),
    "position_embedding": Field(2, ("P", "H")),
    **NORM,
}

_LANGUAGES = {"lang_emb": _table(8, "G", "H", optional=True)}

# Pre-norm models that have a norm behind the embedding, too (mBART); for post-norm models see NORM.
EMBEDDING_NORM = {
    "embedding_norm_scale": _vector(FIRST_OWN_NUMBER, "H", optional=True),
    "embedding_norm_bias": _vector(FIRST_OWN_NUMBER + 1, "H", optional=True),
}

SOURCE_EMBEDDING = {**_EMBEDDING, **_LANGUAGES, **EMBEDDING_NORM}

TARGET_EMBEDDING = {
    **_EMBEDDING,
    "token_embedding": _matrix(1, "H", "V"),
    "encode_output_project_kernel_kv": _matrix(5, "H", "L", 2, "H"),
    "encode_output_project_bias_kv": _vector(6, "L", 2, "H"),
    "shared_bias": _vector(7, "V"),
    **_LANGUAGES,
    **EMBEDDING_NORM,
    # Of models whose output layer does not share the table of words.
    "output_kernel": Field(FIRST_OWN_NUMBER + 2, ("H", "V"), optional=True, scales=COLUMNS),
}

BERT_EMBEDDING = {
    **_EMBEDDING,
    "token_type_embedding": Field(FIRST_OWN_NUMBER, ("T", "H"), optional=True),
}

POOLER = {"kernel": _matrix(1, "H", "H"), "bias": _vector(2)}

# Logits of classes, of the pooled output or of every position: see the setting `task`.
HEAD = {"kernel": _matrix(1, "H", "N"), "bias": _vector(2, "N")}

# Logits of words: dense, activation, norm, and a product with the table of words.
MLM_HEAD = {
    "kernel": _matrix(1, "H", "H"),
    "bias": _vector(2),
    "norm_scale": _vector(3),
    "norm_bias": _vector(4),
    "output_bias": _vector(5, "V"),
}

TASKS = ("", "text-classification", "token-classification", "fill-mask")

# What LightSeq takes for granted, as tf_ls's models have it.
_OWN_SETTINGS = {
    "epsilon": Setting(FIRST_OWN_NUMBER, "float"),
    "activation": Setting(FIRST_OWN_NUMBER + 1, "string"),
}

TRANSFORMER = Family(
    "transformer",
    {
        "src_embedding": Part(1, SOURCE_EMBEDDING),
        "encoder_stack": Part(2, ENCODER_LAYER, repeated=True),
        "trg_embedding": Part(3, TARGET_EMBEDDING),
        "decoder_stack": Part(4, DECODER_LAYER, repeated=True),
    },
    5,
    {
        "head_num": Setting(1, "int32"),
        "beam_size": Setting(2, "int32"),
        "extra_decode_length": Setting(3, "int32"),
        "length_penalty": Setting(4, "float"),
        "src_padding_id": Setting(5, "int32"),
        "trg_start_id": Setting(6, "int32"),
        "diverse_lambda": Setting(7, "float"),
        "sampling_method": Setting(8, "string"),
        "topp": Setting(9, "float"),
        "topk": Setting(10, "int32"),
        "trg_end_id": Setting(11, "int32"),
        "is_post_ln": Setting(12, "bool"),
        "no_scale_embedding": Setting(13, "bool"),
        "use_gelu": Setting(14, "bool"),
        "multilg_type": Setting(15, "int32"),
        **_OWN_SETTINGS,
        "search_options": Setting(FIRST_OWN_NUMBER + 2, "string", LONGEST_JSON),
        "prefix": Setting(FIRST_OWN_NUMBER + 3, "string", LONGEST_JSON),
    },
)

BERT = Family(
    "bert",
    {
        "src_embedding": Part(1, BERT_EMBEDDING),
        "encoder_stack": Part(2, ENCODER_LAYER, repeated=True),
        "pooler": Part(FIRST_OWN_NUMBER, POOLER, optional=True),
        "head": Part(FIRST_OWN_NUMBER + 1, HEAD, optional=True),
        "mlm_head": Part(FIRST_OWN_NUMBER + 2, MLM_HEAD, optional=True, sizes_of="src_embedding"),
    },
    3,
    {
        "head_num": Setting(1, "int32"),
        "src_padding_id": Setting(2, "int32"),
        "is_post_ln": Setting(3, "bool"),
        "use_gelu": Setting(4, "bool"),
        "multilg_type": Setting(5, "int32"),
        **_OWN_SETTINGS,
        "task": Setting(FIRST_OWN_NUMBER + 2, "string"),
        "labels": Setting(FIRST_OWN_NUMBER + 3, "string", LONGEST_JSON),
    },
)

GPT = Family(
    "gpt",
    {
        "src_embedding": Part(1, _EMBEDDING),
        "encoder_stack": Part(2, ENCODER_LAYER, repeated=True),
    },
    3,
    {
        "head_num": Setting(1, "int32"),
        "src_padding_id": Setting(2, "int32"),
        "sampling_method": Setting(3, "string"),
        "topp": Setting(4, "float"),
        "topk": Setting(5, "int32"),
        "eos_id": Setting(6, "int32"),
        "extra_decode_length": Setting(7, "int32"),
        "beam_size": Setting(8, "int32"),
        "length_penalty": Setting(9, "float"),
        "diverse_lambda": Setting(10, "float"),
        "use_gelu": Setting(11, "bool"),
        **_OWN_SETTINGS,
    },
)

FAMILIES = {family.name: family for family in (TRANSFORMER, BERT, GPT)}

# What LightSeq's inference knows; an empty one is the first.
SAMPLING_METHODS = {
    "transformer": ("beam_search", "topk", "topp", "topk_greedy"),
    "gpt": ("topk", "topp", "ppl"),
}


def family_of(name: str) -> Family:
    """Returns a family by its name.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}; got {name!r}")
    return FAMILIES[name]


def markdown(family: Family) -> str:
    """Returns the fields of a family as tables, which docs/model_files.md shows."""
    lines = ["| place | number | fields: number and shape |", "| --- | --- | --- |"]
    for name, part in family.parts.items():
        fields = ", ".join(
            f"`{field}` {definition.number} [{', '.join(map(str, definition.shape))}]"
            + (" (optional)" if definition.optional else "")
            for field, definition in part.fields.items()
        )
        place = f"{name}/{{i}}" if part.repeated else name
        lines.append(
            f"| `{place}`{' (optional)' if part.optional else ''} | {part.number} | {fields} |"
        )
    settings = ", ".join(
        f"`{name}` {setting.number} {setting.kind}" for name, setting in family.settings.items()
    )
    lines.append(f"| `{SETTINGS}` | {family.settings_number} | {settings} |")
    return "\n".join(lines)
