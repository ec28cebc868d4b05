"""The settings of layers under LightSeq's names, their presets, and get_config's two meanings."""

import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Any, Callable, ClassVar, Optional, TypeVar

from tf_ls.ops.layer_attributes import ACTIVATIONS

_TRANSFORMER = {"pre_layer_norm": True, "activation_fn": "relu"}
_BERT = {"pre_layer_norm": False, "activation_fn": "gelu"}
_DROPOUT_ON_OUTPUTS = {
    "attn_prob_dropout_ratio": 0.0,
    "activation_dropout_ratio": 0.0,
    "hidden_dropout_ratio": 0.1,
}
_DROPOUT_EVERYWHERE = {
    "attn_prob_dropout_ratio": 0.1,
    "activation_dropout_ratio": 0.1,
    "hidden_dropout_ratio": 0.1,
}
_512 = {"hidden_size": 512, "intermediate_size": 2048, "nhead": 8}
_768 = {"hidden_size": 768, "intermediate_size": 3072, "nhead": 12}
_1024 = {"hidden_size": 1024, "intermediate_size": 4096, "nhead": 16}

Presets = Mapping[str, Mapping[str, Any]]

PRESETS: Presets = types.MappingProxyType(
    {
        "transformer-base": {**_512, **_TRANSFORMER, **_DROPOUT_ON_OUTPUTS},
        "transformer-big": {**_1024, **_TRANSFORMER, **_DROPOUT_EVERYWHERE},
        "bert-base": {**_768, **_BERT, **_DROPOUT_EVERYWHERE},
        "bert-big": {**_1024, **_BERT, **_DROPOUT_EVERYWHERE},
    }
)


# A Transformer's words are scaled and have sines for positions; BERT's are not, have a table of
# positions, and are normalized.
_BERT_EMBEDDING = {
    "trainable_pos": True,
    "no_scale_embedding": True,
    "layernorm_embedding": True,
    "max_seq_len": 512,
}
EMBEDDING_PRESETS: Presets = types.MappingProxyType(
    {
        model: {
            "embedding_dim": preset["hidden_size"],
            "dropout": preset["hidden_dropout_ratio"],
            **({} if preset["pre_layer_norm"] else _BERT_EMBEDDING),
        }
        for model, preset in PRESETS.items()
    }
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Base of all settings; not for direct use."""

    presets: ClassVar[Presets] = PRESETS

    def _check_sizes(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")

    def _check_ratios(self, *names: str) -> None:
        for name in names:
            ratio = getattr(self, name)
            if not 0.0 <= ratio < 1.0:
                raise ValueError(f"{name} must be in [0, 1), got {ratio}")

    def _check_epsilon(self) -> None:
        if not self.epsilon > 0.0:
            raise ValueError(f"epsilon must be positive, got {self.epsilon}")


@dataclasses.dataclass(frozen=True)
class EncoderLayerConfig(Config):
    """Settings of an encoder layer.

    max_batch_tokens, max_seq_len and local_rank are accepted for LightSeq's sake and are hints:
    nothing is allocated by them and nothing is limited by them. fp16 makes the layer compute in
    float16 (the policy "mixed_float16") unless it is given a dtype.

    Raises:
        ValueError: sizes that do not fit each other, an unknown activation, a ratio outside [0, 1).
    """

    hidden_size: int
    intermediate_size: int
    nhead: int
    attn_prob_dropout_ratio: float = 0.0
    activation_dropout_ratio: float = 0.0
    hidden_dropout_ratio: float = 0.0
    pre_layer_norm: bool = True
    activation_fn: str = "relu"
    epsilon: float = 1e-6
    max_batch_tokens: Optional[int] = None
    max_seq_len: Optional[int] = None
    fp16: bool = False
    local_rank: int = 0

    def __post_init__(self) -> None:
        self._check_sizes("hidden_size", "intermediate_size", "nhead")
        if self.hidden_size % self.nhead:
            raise ValueError(
                f"hidden_size must be a multiple of the number of attention heads, got "
                f"hidden_size={self.hidden_size} and {self.nhead} heads"
            )
        self._check_ratios(
            "attn_prob_dropout_ratio", "activation_dropout_ratio", "hidden_dropout_ratio"
        )
        if self.activation_fn not in ACTIVATIONS:
            raise ValueError(
                f"activation_fn must be one of {', '.join(ACTIVATIONS)}; got {self.activation_fn!r}"
            )
        self._check_epsilon()


@dataclasses.dataclass(frozen=True)
class DecoderLayerConfig(EncoderLayerConfig):
    """Settings of a decoder layer. nlayer is one more hint of LightSeq's.

    encoder_hidden_size is the width of the encoder's outputs, hidden_size unless given.
    """

    has_cross_attn: bool = True
    encoder_hidden_size: Optional[int] = None
    nlayer: Optional[int] = None


@dataclasses.dataclass(frozen=True)
class EmbeddingLayerConfig(Config):
    """Settings of an embedding layer.

    max_seq_len is the length of the table of positions if there is one (trainable_pos), otherwise a
    hint, as max_batch_tokens and local_rank are.

    Raises:
        ValueError: sizes that are none, a dropout outside [0, 1), a table of positions without a
            length.
    """

    presets: ClassVar[Presets] = EMBEDDING_PRESETS

    vocab_size: int
    embedding_dim: int
    padding_idx: Optional[int] = None
    dropout: float = 0.0
    trainable_pos: bool = False
    no_scale_embedding: bool = False
    layernorm_embedding: bool = False
    share_softmax_weights: bool = False
    epsilon: float = 1e-6
    max_seq_len: Optional[int] = None
    max_batch_tokens: Optional[int] = None
    fp16: bool = False
    local_rank: int = 0

    def __post_init__(self) -> None:
        self._check_sizes("vocab_size", "embedding_dim")
        if self.trainable_pos:
            self._check_sizes("max_seq_len")
        self._check_ratios("dropout")
        self._check_epsilon()


@dataclasses.dataclass(frozen=True)
class CrossEntropyConfig(Config):
    """Settings of the cross entropy layer. max_batch_tokens, fp16 and local_rank are hints.

    Raises:
        ValueError: an epsilon outside [0, 1).
    """

    # Any model's name is accepted, and says nothing about the loss.
    presets: ClassVar[Presets] = types.MappingProxyType({model: {} for model in PRESETS})

    epsilon: float = 0.0
    padding_idx: Optional[int] = None
    max_batch_tokens: Optional[int] = None
    fp16: bool = False
    local_rank: int = 0

    def __post_init__(self) -> None:
        self._check_ratios("epsilon")


@dataclasses.dataclass(frozen=True)
class TransformerConfig(Config):
    """Settings of LSTransformer: those of its layers, and how many there are of which words.

    trg_vocab_size is vocab_size unless given. max_batch_tokens, max_seq_len and local_rank are
    hints, as everywhere.

    Raises:
        ValueError: as for a layer; tables to be shared that differ in size.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    nhead: int
    num_encoder_layer: int = 6
    num_decoder_layer: int = 6
    trg_vocab_size: Optional[int] = None
    padding_idx: Optional[int] = None
    share_source_target_embedding: bool = False
    share_embedding_and_softmax_weights: bool = True
    attn_prob_dropout_ratio: float = 0.0
    activation_dropout_ratio: float = 0.0
    hidden_dropout_ratio: float = 0.0
    pre_layer_norm: bool = True
    activation_fn: str = "relu"
    epsilon: float = 1e-6
    max_batch_tokens: Optional[int] = None
    max_seq_len: Optional[int] = None
    fp16: bool = False
    local_rank: int = 0

    def __post_init__(self) -> None:
        self._check_sizes("vocab_size", "num_encoder_layer", "num_decoder_layer")
        if self.trg_vocab_size is not None:
            self._check_sizes("trg_vocab_size")
        if self.share_source_target_embedding and self.target_vocab_size != self.vocab_size:
            raise ValueError(
                "a table for both sides needs one vocabulary, got "
                f"vocab_size={self.vocab_size} and trg_vocab_size={self.trg_vocab_size}"
            )
        self.layer_settings()

    @property
    def target_vocab_size(self) -> int:
        return self.trg_vocab_size or self.vocab_size

    def layer_settings(self) -> EncoderLayerConfig:
        """Returns the settings of each encoder layer, which the decoder layers share."""
        names = {field.name for field in dataclasses.fields(EncoderLayerConfig)}
        return EncoderLayerConfig(**{name: getattr(self, name) for name in names})


AnyConfig = TypeVar("AnyConfig", bound=Config)


def make_config(
    config_class: type[AnyConfig], model: Optional[str] = None, **settings: Any
) -> AnyConfig:
    """Returns a config from a preset and the settings that override it, or from settings alone.

    Raises:
        ValueError: an unknown preset or an unknown setting; the message names the valid ones.
    """
    presets = config_class.presets
    if model is not None and model not in presets:
        raise ValueError(f"unknown preset model={model!r}; the presets are {', '.join(presets)}")
    required = {f.name: f.default is dataclasses.MISSING for f in dataclasses.fields(config_class)}
    fields = list(required)
    unknown = sorted(set(settings) - set(fields))
    if unknown:
        raise ValueError(
            f"unknown setting {', '.join(unknown)}; the settings are {', '.join(fields)}"
        )
    values = {**(presets[model] if model else {}), **settings}
    missing = [name for name in fields if required[name] and name not in values]
    if missing:
        raise ValueError(
            f"{', '.join(missing)} missing: give them, or a preset model={' | '.join(presets)}"
        )
    return config_class(**values)


def resolve_config(
    config_class: type[AnyConfig], size_or_config: Any, settings: dict[str, Any]
) -> AnyConfig:
    """Returns a layer's config from its constructor's arguments; those that are None are not given.

    The first argument is a config, which `settings` override, or the first of the settings.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if isinstance(size_or_config, config_class):
        return dataclasses.replace(size_or_config, **given)
    if isinstance(size_or_config, Config):
        raise ValueError(
            f"expected a {config_class.__name__} as the layer's own get_config makes it, "
            f"got a {type(size_or_config).__name__}"
        )
    first = dataclasses.fields(config_class)[0].name
    return make_config(config_class, **{first: size_or_config}, **given)


class ClassOrInstanceGetConfig:
    """get_config as LightSeq has it on the class, and as Keras has it on an instance.

    Layer.get_config(model="transformer-base", ...) returns a config for the constructor;
    layer.get_config() returns the dictionary that from_config, clone_model and save use.
    """

    def __init__(self, config_class: type[Config], keras_get_config: Callable):
        self._config_class = config_class
        self._keras_get_config = keras_get_config

    def __get__(self, instance: Any, owner: Optional[type] = None) -> Callable:
        if instance is None:
            return functools.partial(make_config, self._config_class)
        return types.MethodType(self._keras_get_config, instance)
