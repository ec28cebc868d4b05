"""LSTransformerEmbeddingLayer."""

import math
from typing import Any, NamedTuple, Optional, Union

import tensorflow as tf

from tf_ls import ops
from tf_ls.layers.config import ClassOrInstanceGetConfig, EmbeddingLayerConfig, resolve_config
from tf_ls.layers.operation_layer import OperationLayer


class OutputTable(NamedTuple):
    """What projects hidden states [..., H] onto a vocabulary: x * weights^T + bias."""

    weights: tf.Tensor  # [V, H]
    bias: Optional[tf.Tensor]  # [V]


@tf.keras.utils.register_keras_serializable(package="tf_ls")
class LSTransformerEmbeddingLayer(OperationLayer):
    """Embeds tokens: lookup, scale, position and dropout as one fused operation.

    Args:
        vocab_size: the number of tokens V; or a config from
            `LSTransformerEmbeddingLayer.get_config(model="transformer-base", vocab_size=...)`,
            which the other arguments then override.
        embedding_dim: width H of the outputs.
        padding_idx: the id of padding, whose outputs are zeros and which the layer's mask tells the
            next layers of. None: no id is padding.
        dropout: on the outputs. 0 unless given.
        trainable_pos: whether positions are a trained table of max_seq_len rows; otherwise they are
            sines and cosines, of any length.
        no_scale_embedding: words are multiplied by sqrt(embedding_dim) unless this is True.
        layernorm_embedding: whether outputs are normalized, before dropout.
        share_softmax_weights: whether the table also projects onto the vocabulary, by a model that
            asks for `output_table()`: then there is a bias [V] too, and the gradient of the table
            is dense. Otherwise it is tf.IndexedSlices.
        epsilon: of the norm. 1e-6 unless given.
        max_seq_len: the longest sentence that trainable_pos has positions for.
        **kwargs: name, dtype (float32, bfloat16, float16 or a mixed policy) and trainable.

    Raises:
        ValueError: sizes that do not fit, unknown dtype or preset.
    """

    def __init__(
        self,
        vocab_size: Union[int, EmbeddingLayerConfig],
        embedding_dim: Optional[int] = None,
        padding_idx: Optional[int] = None,
        dropout: Optional[float] = None,
        trainable_pos: Optional[bool] = None,
        no_scale_embedding: Optional[bool] = None,
        layernorm_embedding: Optional[bool] = None,
        share_softmax_weights: Optional[bool] = None,
        epsilon: Optional[float] = None,
        max_seq_len: Optional[int] = None,
        **kwargs: Any,
    ):
        settings = dict(
            embedding_dim=embedding_dim,
            padding_idx=padding_idx,
            dropout=dropout,
            trainable_pos=trainable_pos,
            no_scale_embedding=no_scale_embedding,
            layernorm_embedding=layernorm_embedding,
            share_softmax_weights=share_softmax_weights,
            epsilon=epsilon,
            max_seq_len=max_seq_len,
        )
        config = resolve_config(EmbeddingLayerConfig, vocab_size, settings)
        super().__init__(fp16=config.fp16, **kwargs)
        self._arguments = {name: getattr(config, name) for name in ("vocab_size", *settings)}
        for name, value in self._arguments.items():
            setattr(self, name, value)
        self.scale = 1.0 if self.no_scale_embedding else math.sqrt(self.embedding_dim)

    def _keras_get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._arguments}

    get_config = ClassOrInstanceGetConfig(EmbeddingLayerConfig, _keras_get_config)

    def build(self, input_shape: Any) -> None:
        v, h = self.vocab_size, self.embedding_dim
        if self.share_softmax_weights:
            self.add_parameters(["shared/weights", "shared/bias"], [(v, h), (v,)])
        else:
            self.add_parameters(["emb/weights"], [(v, h)])
        if self.trainable_pos:
            self.add_parameters(["position_embeddings/weights"], [(self.max_seq_len, h)])
        if self.layernorm_embedding:
            self.add_parameters(["ln/gamma", "ln/beta"], [(h,), (h,)])
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape, self.embedding_dim)

    def compute_mask(self, inputs: Any, mask: Optional[Any] = None) -> Any:
        # Operators, which the symbolic tensors of either Keras have too.
        if self.padding_idx is None:
            return mask
        real = inputs != self.padding_idx
        return real if mask is None else real & mask

    def call(
        self,
        inputs: tf.Tensor,
        mask: Optional[Any] = None,
        start: Union[int, tf.Tensor] = 0,
        training: Optional[bool] = None,
    ) -> tf.Tensor:
        """Returns the embedded tokens.

        Args:
            inputs: ids [B, L], integers.
            mask: [B, L], Keras' convention: True at real tokens, False at padding, besides that
                which padding_idx tells of.
            start: the position of the first token of each sentence; for incremental decoding.
            training: whether dropout happens; a Python value, None is False.

        Returns:
            [B, L, H] in the compute dtype; zeros at padding. The position of a token is its place
            in its sentence, padding before it included.
        """
        ids = self._ids(inputs)
        if mask is not None:
            mask = tf.logical_not(self.padding(ids, mask))
        mask = self.compute_mask(ids, mask)
        if mask is None:
            return self._embed(ids, None, start, training)
        shape = tf.shape(ids)
        places = tf.reshape(tf.range(shape[0] * shape[1]), shape)
        indices = tf.reshape(tf.where(mask, places, -1), [-1])
        outputs = self._embed(ids, indices, start, training)
        if self.layernorm_embedding:  # which has made beta of zeros
            outputs = tf.where(tf.reshape(mask, [-1, 1]), outputs, tf.zeros([], outputs.dtype))
        outputs = tf.reshape(outputs, tf.concat([shape, [self.embedding_dim]], axis=0))
        return tf.ensure_shape(outputs, [*ids.shape, self.embedding_dim])

    def rows(self, ids: tf.Tensor, layout: ops.RowLayout, training: Any = None) -> tf.Tensor:
        """Returns the embedded tokens of a layout, [R, H], for a model without padding."""
        self.build_by_name()
        return self._embed(self._ids(ids), layout.indices, 0, training)

    def output_table(self) -> OutputTable:
        """Returns the table and the bias that project onto the vocabulary.

        Raises:
            ValueError: without share_softmax_weights.
        """
        if not self.share_softmax_weights:
            raise ValueError(f"{self.name}: the table is not shared (share_softmax_weights=False)")
        self.build_by_name()
        return OutputTable(*self.parameters()[:2])

    def _embed(
        self, ids: tf.Tensor, indices: Optional[tf.Tensor], start: Any, training: Any
    ) -> tf.Tensor:
        dropout = self.dropout if self.is_training(training) else 0.0
        table, *more = self.parameters()
        more = more[1:] if self.share_softmax_weights else more
        outputs = ops.embedding(
            ids,
            table,
            indices=indices,
            scale=self.scale,
            positions=more[0] if self.trainable_pos else ops.SINUSOIDS,
            start=start,
            dropout=0.0 if self.layernorm_embedding else dropout,
            sparse_gradient=not self.share_softmax_weights,
            dtype=self.compute_dtype,
        )
        if not self.layernorm_embedding:
            return outputs
        outputs = ops.layer_norm(outputs, *more[-2:], self.epsilon)
        return ops.dropout(outputs, dropout) if dropout else outputs

    def _ids(self, inputs: Any) -> tf.Tensor:
        ids = tf.convert_to_tensor(inputs)
        if not ids.dtype.is_integer:
            raise ValueError(f"{self.name}: expected ids, integers, got {ids.dtype.name}")
        if ids.shape.rank != 2:
            raise ValueError(f"{self.name}: expected ids [batch, length], got shape {ids.shape}")
        return ids
