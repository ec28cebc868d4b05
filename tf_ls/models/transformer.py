"""LSTransformer."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional, Union

import tensorflow as tf

from tf_ls import ops
from tf_ls.layers.config import (
    ClassOrInstanceGetConfig,
    DecoderLayerConfig,
    EmbeddingLayerConfig,
    TransformerConfig,
    make_config,
)
from tf_ls.layers.decoder_layer import LSTransformerDecoderLayer
from tf_ls.layers.embedding_layer import LSTransformerEmbeddingLayer, OutputTable
from tf_ls.layers.encoder_layer import LSTransformerEncoderLayer
from tf_ls.layers.layer_norm import LSLayerNorm
from tf_ls.layers.operation_layer import OperationLayer, scoped_name
from tf_ls.models.encoder_decoder import EncoderDecoder
from tf_ls.ops.host import on_host


class HiddenStates(NamedTuple):
    """What a decoder says of its tokens, and what makes logits of it."""

    values: tf.Tensor  # [R, H], packed: no rows for padding
    layout: ops.RowLayout  # of R rows; where they belong in [B, T]
    table: OutputTable  # weights [V, H] and bias [V]
    batch_and_length: tf.Tensor  # int32 [2]: B and T


class SoftmaxLinear(OperationLayer):
    """The weights of an output layer that shares none with an embedding."""

    def __init__(self, hidden_size: int, vocab_size: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.hidden_size = hidden_size
        self.vocab_size = vocab_size

    def build(self, input_shape: Any) -> None:
        self.add_parameters(
            ["kernel", "bias"], [(self.hidden_size, self.vocab_size), (self.vocab_size,)]
        )
        self.built = True

    def output_table(self) -> OutputTable:
        kernel, bias = self.parameters()
        return OutputTable(tf.transpose(kernel), bias)


@tf.keras.utils.register_keras_serializable(package="tf_ls")
class LSTransformer(tf.keras.Model):
    """A Transformer encoder-decoder of fused layers.

    Vaswani et al., "Attention is all you need", 2017. Padding is taken out once, before the
    embeddings, and comes back with the logits. Variables are named as NeurST's Transformer names
    its own.

    Args:
        config: what `LSTransformer.get_config(model="transformer-base", vocab_size=...)` returns.
        name, dtype, trainable: as for any Keras model; float32, bfloat16, float16 or a mixed
            policy.
        **settings: settings of the config, which override it, or stand for it.

    Raises:
        ValueError: sizes that do not fit, unknown setting, activation, dtype or preset.
    """

    def __init__(
        self,
        config: Optional[TransformerConfig] = None,
        *,
        name: Optional[str] = None,
        dtype: Any = None,
        trainable: bool = True,
        **settings: Any,
    ):
        if config is None:
            config = make_config(TransformerConfig, **settings)
        elif not isinstance(config, TransformerConfig):
            raise ValueError(
                "expected a TransformerConfig as LSTransformer.get_config makes it, got a "
                f"{type(config).__name__}"
            )
        else:
            config = dataclasses.replace(config, **settings)
        if dtype is None and config.fp16:
            dtype = "mixed_float16"
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.supports_jit = False  # Keras 3 then leaves XLA out of compile(jit_compile="auto")
        self.settings = config
        self._make_embeddings()
        self._make_stacks()
        with tf.name_scope(self.name):
            self._build_layers()
        self.built = True

    def _keras_get_config(self) -> dict[str, Any]:
        keras = tf.keras.layers.Layer.get_config(self)
        own = {name: keras[name] for name in ("name", "trainable", "dtype")}
        return {**own, **dataclasses.asdict(self.settings)}

    get_config = ClassOrInstanceGetConfig(TransformerConfig, _keras_get_config)

    def call(self, inputs: Mapping[str, tf.Tensor], training: Optional[bool] = None) -> tf.Tensor:
        """Returns the logits of the words that follow.

        Args:
            inputs: a dictionary of
                "src": ids [B, S]; "trg_input": ids [B, T], the target shifted right by one.
                "src_padding", "trg_padding": [B, S] and [B, T], nonzero at padding, anywhere; or
                "src_length", "trg_length": [B], the number of tokens before it. Without either,
                padding is where an id is padding_idx, and if there is none, nowhere.
            training: whether dropout happens; a Python value, None is False.

        Returns:
            [B, T, V] in the compute dtype; zeros at padding.
        """
        hidden = self.hidden_states(inputs, training)
        return ops.output_projection(
            hidden.values, hidden.layout, *hidden.table, hidden.batch_and_length
        )

    def hidden_states(
        self, inputs: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> HiddenStates:
        """Returns what `call` projects onto the vocabulary, for losses that make no logits.

        Args:
            inputs, training: as for `call`.
        """
        source, target = (tf.convert_to_tensor(inputs[name]) for name in ("src", "trg_input"))
        source_layout, target_layout = ops.pack_layouts(
            [self._padding(inputs, "src", source), self._padding(inputs, "trg", target)]
        )
        memory = self.source_embedding.rows(source, source_layout, training)
        for layer in self.encoder_layers:
            memory = ops.encoder_layer(
                memory, source_layout, layer.parameters(), **layer.operation_options(training)
            )
        memory = self._normalized(memory, self.encoder_norm)
        rows = self.target_embedding.rows(target, target_layout, training)
        for layer in self.decoder_layers:
            rows = ops.decoder_layer(
                rows,
                target_layout,
                memory,
                source_layout,
                layer.parameters(),
                **layer.operation_options(training),
            )
        rows = self._normalized(rows, self.decoder_norm)
        return HiddenStates(rows, target_layout, self.output_layer.output_table(), tf.shape(target))

    def generate(
        self,
        source: Union[tf.Tensor, Mapping[str, tf.Tensor]],
        options: ops.SearchOptions,
        start: Union[tf.Tensor, int],
        **more: Any,
    ) -> ops.Generated:
        """Generates from sentences: the encoder once, then all steps in one operation.

        In a function, the variables are read when it runs. There is no dropout.

        Args:
            source: ids [B, S]; or a dictionary with "src", and "src_padding" or "src_length", as
                for `call`.
            options: what to generate, and what ends a hypothesis. They may be tensors.
            start: the token in front of each hypothesis, an integer or integers [B]: what
                "trg_input" began with in training.
            **more: prefix, prefix_lengths and return_attention, as for `ops.generate`.

        Returns:
            The hypotheses, best first; samples in the order drawn. Attention's source positions
            count tokens, without padding.

        Raises:
            tf.errors.InvalidArgumentError: tokens that are not in the vocabulary, tensors of
                options that are out of their range.
            ValueError: a source that is not of rank 2; what `ops.generate` raises.
        """
        inputs = source if isinstance(source, Mapping) else {"src": source}
        ids = tf.convert_to_tensor(inputs["src"])
        with on_host():
            padding = self._padding(inputs, "src", ids)
        return self.encoder_decoder().generate(
            ids, padding, start, options, dtype=self.compute_dtype, **more
        )

    def encoder_decoder(self) -> EncoderDecoder:
        """Returns the variables of the model by what they do, for generating."""
        settings = self.settings
        structure = {
            "num_heads": settings.nhead,
            "pre_norm": settings.pre_layer_norm,
            "activation": settings.activation_fn,
            "epsilon": settings.epsilon,
        }

        def stack(layers: list, norm: Optional[LSLayerNorm]) -> dict[str, Any]:
            return {
                "layers": [layer.parameters() for layer in layers],
                "norm": None if norm is None else tuple(norm.parameters()),
                **structure,
            }

        def embedding(layer: LSTransformerEmbeddingLayer) -> dict[str, Any]:
            return {
                "table": layer.parameters()[0],
                "scale": layer.scale,
                "positions": ops.SINUSOIDS,
            }

        # None: the table, if that is what projects onto the vocabulary, is there only once.
        weights, bias = self.output_layer.output_table()
        return EncoderDecoder(
            ops.Encoder(
                **embedding(self.source_embedding), **stack(self.encoder_layers, self.encoder_norm)
            ),
            ops.Decoder(
                **embedding(self.target_embedding),
                **stack(self.decoder_layers, self.decoder_norm),
                output_weights=None if self.softmax_linear is None else weights,
                output_bias=bias,
            ),
        )

    def _make_embeddings(self) -> None:
        settings = self.settings

        def embedding(name: str, vocab_size: int, shares_softmax: bool) -> OperationLayer:
            return LSTransformerEmbeddingLayer(
                EmbeddingLayerConfig(
                    vocab_size=vocab_size,
                    embedding_dim=settings.hidden_size,
                    dropout=settings.hidden_dropout_ratio,
                    share_softmax_weights=shares_softmax,
                ),
                name=scoped_name(f"{name}_posenc_wrapper/{name}"),
                dtype=self.dtype_policy,
            )

        shares_softmax = settings.share_embedding_and_softmax_weights
        if settings.share_source_target_embedding:
            self.target_embedding = self.source_embedding = embedding(
                "shared_symbol_modality", settings.vocab_size, shares_softmax
            )
        else:
            self.source_embedding = embedding("input_symbol_modality", settings.vocab_size, False)
            self.target_embedding = embedding(
                "target_symbol_modality", settings.target_vocab_size, shares_softmax
            )
        self.softmax_linear = None
        if not shares_softmax:
            self.softmax_linear = SoftmaxLinear(
                settings.hidden_size,
                settings.target_vocab_size,
                name="softmax_linear",
                dtype=self.dtype_policy,
            )

    def _make_stacks(self) -> None:
        settings, policy = self.settings, self.dtype_policy
        encoder = settings.layer_settings()
        decoder = DecoderLayerConfig(**dataclasses.asdict(encoder))
        # An attribute each, not a list: tf.train.Checkpoint finds attributes on either Keras.
        for i in range(settings.num_encoder_layer):
            name = scoped_name(f"TransformerEncoder/layer_{i}")
            layer = LSTransformerEncoderLayer(encoder, name=name, dtype=policy)
            setattr(self, f"encoder_layer_{i}", layer)
        for i in range(settings.num_decoder_layer):
            name = scoped_name(f"TransformerDecoder/layer_{i}")
            layer = LSTransformerDecoderLayer(decoder, name=name, dtype=policy)
            setattr(self, f"decoder_layer_{i}", layer)
        self.encoder_norm = self.decoder_norm = None
        if settings.pre_layer_norm:
            self.encoder_norm, self.decoder_norm = (
                LSLayerNorm(settings.epsilon, name=scoped_name(f"{stack}/output_ln"), dtype=policy)
                for stack in ("TransformerEncoder", "TransformerDecoder")
            )

    def _build_layers(self) -> None:
        for layer in (
            self.source_embedding,
            self.target_embedding,
            self.softmax_linear,
            *self.encoder_layers,
            self.encoder_norm,
            *self.decoder_layers,
            self.decoder_norm,
        ):
            if layer is not None:
                layer.build_by_name([None, None, self.settings.hidden_size])

    @property
    def encoder_layers(self) -> list[LSTransformerEncoderLayer]:
        return [getattr(self, f"encoder_layer_{i}") for i in range(self.settings.num_encoder_layer)]

    @property
    def decoder_layers(self) -> list[LSTransformerDecoderLayer]:
        return [getattr(self, f"decoder_layer_{i}") for i in range(self.settings.num_decoder_layer)]

    @property
    def output_layer(self) -> OperationLayer:
        return self.softmax_linear or self.target_embedding

    def _normalized(self, rows: tf.Tensor, norm: Optional[LSLayerNorm]) -> tf.Tensor:
        return rows if norm is None else ops.layer_norm(rows, *norm.parameters(), norm.epsilon)

    def _padding(self, inputs: Mapping[str, tf.Tensor], side: str, ids: tf.Tensor) -> tf.Tensor:
        """Returns bool [B, L], True at padding."""
        if ids.shape.rank != 2:
            raise ValueError(f"{self.name}: expected ids [batch, length], got shape {ids.shape}")
        padding = inputs.get(f"{side}_padding")
        if padding is not None:
            padding = tf.convert_to_tensor(padding)
            if padding.shape.rank != 2 or not padding.shape.is_compatible_with(ids.shape):
                raise ValueError(
                    f"{self.name}: expected {side}_padding of its ids' shape {ids.shape}, got "
                    f"{padding.shape}"
                )
            return tf.cast(padding, tf.bool)
        lengths = inputs.get(f"{side}_length")
        if lengths is not None:
            return tf.logical_not(tf.sequence_mask(lengths, tf.shape(ids)[1]))
        if self.settings.padding_idx is not None:
            return tf.equal(ids, tf.cast(self.settings.padding_idx, ids.dtype))
        return tf.zeros(tf.shape(ids), tf.bool)
