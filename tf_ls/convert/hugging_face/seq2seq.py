"""Translation models of Fairseq's descent: BART (post-norm), mBART (pre-norm) and Marian."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_ls.convert import fairseq_layers
from tf_ls.convert.error import ConversionError
from tf_ls.convert.hugging_face import config as config_file
from tf_ls.convert.hugging_face import generation
from tf_ls.convert.weight_table import (
    Constant,
    Row,
    Rule,
    Same,
    Scaled,
    Transposed,
    Weights,
    WeightTable,
    WithoutRows,
)
from tf_ls.files import Model

Config = Mapping[str, Any]

FAMILY = "transformer"

# Of PyTorch's norms: there is no option for it.
_EPSILON = 1e-5

_OPTIONS = config_file.Options(
    sizes={
        "vocab_size": ("src_embedding/token_embedding", 0),
        "d_model": ("src_embedding/token_embedding", 1),
        "max_position_embeddings": ("src_embedding/position_embedding", 0),
        "encoder_ffn_dim": ("encoder_stack/0/ffn_first_bias", 0),
    },
    layers={"encoder_layers": "encoder_stack", "decoder_layers": "decoder_stack"},
    settings={"encoder_attention_heads": "head_num"},
    activation="activation_function",
    defaults={"activation_function": "gelu"},
    fixed={"is_encoder_decoder": True, "tie_word_embeddings": True},
    same={
        "decoder_attention_heads": "encoder_attention_heads",
        "decoder_ffn_dim": "encoder_ffn_dim",
    },
)

_TABLE = ".embed_tokens.weight"
_POSITIONS = ".embed_positions.weight"
_BIAS = "final_logits_bias"


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What differs between them."""

    model_type: str
    classes: Sequence[str]
    is_post_norm: bool
    has_embedding_norm: bool

    first_position: int = 0
    """Where positions count from, in a table that is learned; rows before it are of padding."""

    has_sinusoids: bool = False
    """Whether positions are computed, so that checkpoints may be without them."""

    may_have_two_tables: bool = False
    """Whether the target may have words of its own."""

    @property
    def options(self) -> config_file.Options:
        if not self.may_have_two_tables:
            return _OPTIONS
        target = {"decoder_vocab_size": ("trg_embedding/token_embedding", 1)}
        return _OPTIONS._replace(sizes={**_OPTIONS.sizes, **target})

    def read(self, config: Config, options: Config, weights: Weights) -> Model:
        """Returns the model of a configuration, options of generation, and weights.

        Raises:
            ConversionError: something has no place in a model file; the message names it.
        """
        config_file.check_architecture(config, self.classes)
        model = Model(FAMILY)
        config_file.put_settings(self.options, config, model)
        generation.put_settings(options, model)
        model.settings.update(
            is_post_ln=self.is_post_norm,
            no_scale_embedding=not config.get("scale_embedding", False),
            epsilon=_EPSILON,
        )
        hidden, *layers = (
            config_file.count_of(self.options, config, name)
            for name in ("d_model", *self.options.layers)
        )
        two_tables = not config.get("share_encoder_decoder_embeddings", True)
        if two_tables and not self.may_have_two_tables:
            raise ConversionError("config.json/share_encoder_decoder_embeddings: expected True")
        prefix = "model." if any(name.startswith("model.") for name in weights) else ""
        fields = self._fields(prefix, hidden, layers, two_tables, model)
        self._replace_what_is_not_saved(fields, config, weights)
        self._table(fields, prefix, two_tables).read(weights, model)
        config_file.check_sizes(self.options, config, model)
        return model

    def write(self, model: Model) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
        """Returns the JSON files and the weights of a model.

        Raises:
            ConversionError: the model has something that Hugging Face's has no place for.
        """
        self._check(model)
        config = config_file.of_model(self.options, model)
        options = generation.of_model(model)
        tables = [model.float32(f"{part}_embedding/token_embedding") for part in ("src", "trg")]
        if len(tables[0]) != len(tables[1].T):  # which their library writes, but does not load
            raise ConversionError(
                f"trg_embedding/token_embedding: expected as many words as the source's,"
                f" {len(tables[0])}, got {len(tables[1].T)}"
            )
        two_tables = self.may_have_two_tables and not np.array_equal(tables[0], tables[1].T)
        layers = [config[name] for name in self.options.layers]
        fields = self._fields("model.", config["d_model"], layers, two_tables, model)
        weights = self._table(fields, "model.", two_tables).write(model)
        tokens = {name: value for name, value in options.items() if name.endswith("_token_id")}
        config.update(
            tokens,
            model_type=self.model_type,
            architectures=[self.classes[0]],
            scale_embedding=not model.setting("no_scale_embedding"),
        )
        if self.may_have_two_tables:
            config["share_encoder_decoder_embeddings"] = not two_tables
        return {config_file.FILE: config, generation.FILE: options}, weights

    def _check(self, model: Model) -> None:
        """Raises ConversionError for settings that Hugging Face has no option for."""
        expected = {
            "is_post_ln": self.is_post_norm,
            "epsilon": float(np.float32(_EPSILON)),
            "multilg_type": 0,
        }
        for name, value in expected.items():
            own = model.setting(name)
            if own != value and np.float32(own) != value:
                raise ConversionError(
                    f"model_conf/{name}: {self.model_type} has {value}, the model {own}"
                )

    def _fields(
        self, prefix: str, hidden: int, layers: Sequence[int], two_tables: bool, model: Model
    ) -> dict[str, Rule]:
        """The fields; those that are scaled have the factor that a model's settings say."""
        fields = fairseq_layers.layers(prefix, *layers)
        for part, stack in (("src_embedding", "encoder"), ("trg_embedding", "decoder")):
            table = f"{prefix}{stack}{_TABLE}" if two_tables else f"{prefix}shared.weight"
            words = Same(table) if stack == "encoder" else Transposed(table)
            if not model.setting("no_scale_embedding"):
                words = Scaled(words, math.sqrt(hidden))
            fields[f"{part}/token_embedding"] = words
            positions = f"{prefix}{stack}{_POSITIONS}"
            fields[f"{part}/position_embedding"] = WithoutRows(positions, self.first_position)
            behind_embedding = "norm" if self.is_post_norm else "embedding_norm"
            if self.has_embedding_norm:
                name = f"{prefix}{stack}.layernorm_embedding"
                fields.update(fairseq_layers.norm(f"{part}/{behind_embedding}", name))
            if not self.is_post_norm:
                fields.update(fairseq_layers.norm(f"{part}/norm", f"{prefix}{stack}.layer_norm"))
        fields["trg_embedding/shared_bias"] = Row(_BIAS)
        return fields

    def _replace_what_is_not_saved(
        self, fields: dict[str, Rule], config: Config, weights: Weights
    ) -> None:
        """What checkpoints may be without is always the same."""
        if _BIAS not in weights:
            words = config.get("decoder_vocab_size") or config.get("vocab_size", 0)
            fields["trg_embedding/shared_bias"] = Constant(np.zeros(words, np.float32), "")
        for part in ("src_embedding", "trg_embedding") if self.has_sinusoids else ():
            (name,) = fields[f"{part}/position_embedding"].names
            if name not in weights:
                count, hidden = (
                    config_file.count_of(self.options, config, size)
                    for size in ("max_position_embeddings", "d_model")
                )
                fields[f"{part}/position_embedding"] = Constant(sinusoids(count, hidden), "")

    def _table(self, fields: dict[str, Rule], prefix: str, two_tables: bool) -> WeightTable:
        decoder = f"{prefix}decoder{_TABLE}"
        if two_tables:
            copies = {"lm_head.weight": decoder}
        else:
            names = ("lm_head.weight", f"{prefix}encoder{_TABLE}", decoder)
            copies = dict.fromkeys(names, f"{prefix}shared.weight")
        return WeightTable(fields, copies=copies, no_weights=[r"(.*\.)?(en|de)coder\.version"])


def sinusoids(count: int, hidden: int) -> np.ndarray:
    """Returns Marian's positions float32 [count, hidden]: sines, and behind them cosines.

    The i-th of either has the frequency 10000 ** (-2 i / hidden) (Vaswani et al. 2017,
    arXiv:1706.03762, section 3.5, where they take turns).
    """
    frequencies = 1e4 ** (-np.arange(0, hidden, 2) / hidden)
    angles = np.arange(count)[:, None] * frequencies
    cosines = np.cos(angles[:, : hidden // 2])
    return np.concatenate([np.sin(angles), cosines], axis=1).astype(np.float32)


BART = Architecture(
    "bart",
    ["BartForConditionalGeneration", "BartModel"],
    is_post_norm=True,
    has_embedding_norm=True,
    first_position=2,
)
MBART = Architecture(
    "mbart",
    ["MBartForConditionalGeneration", "MBartModel"],
    is_post_norm=False,
    has_embedding_norm=True,
    first_position=2,
)
MARIAN = Architecture(
    "marian",
    ["MarianMTModel", "MarianModel"],
    is_post_norm=True,
    has_embedding_norm=False,
    has_sinusoids=True,
    may_have_two_tables=True,
)
