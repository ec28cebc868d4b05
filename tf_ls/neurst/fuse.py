"""Puts the fused layers into NeurST's classes, and the fused optimizer into its registry.

The classes, their variables and their checkpoints stay NeurST's own; only what they compute with
is replaced.
"""

from __future__ import annotations

_MARK = "_tf_ls_stock"


def install() -> None:
    """Replaces the methods, once."""
    from neurst.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropy
    from neurst.criterions.label_smoothed_cross_entropy_with_kd import (
        LabelSmoothedCrossEntropyWithKd,
    )
    from neurst.layers.decoders.transformer_decoder import TransformerDecoder
    from neurst.layers.encoders.transformer_encoder import TransformerEncoder
    from neurst.layers.modalities.text_modalities import WordEmbeddingSharedWeights
    from neurst.layers.search.beam_search import BeamSearch
    from neurst.layers.search.sampling import Sampling
    from neurst.models.encoder_decoder_model import EncoderDecoderModel
    from neurst.tasks.language_model import LanguageModel
    from neurst.tasks.multilingual_translation import MultilingualTranslation
    from neurst.tasks.seq2seq import Seq2Seq
    from neurst.training import training_utils
    from neurst.training.callbacks import MetricReductionCallback

    from tf_ls.neurst import (
        callbacks,
        criterions,
        embeddings,
        host_batches,
        optimizers,
        packed_model,
        searches,
        stacks,
    )
    from tf_ls.neurst.training_model import TrainingModel

    if hasattr(TransformerEncoder.call, _MARK):
        return
    _replace(TransformerEncoder, "call", stacks.make_encoder_call)
    _replace(TransformerDecoder, "call", stacks.make_decoder_call)
    _replace(
        EncoderDecoderModel, "get_symbols_to_logits_fn", packed_model.make_get_symbols_to_logits_fn
    )
    _replace(WordEmbeddingSharedWeights, "_bottom", embeddings.make_bottom)
    _replace(BeamSearch, "call", searches.make_beam_search_call)
    _replace(Sampling, "call", searches.make_sampling_call)
    _replace(LabelSmoothedCrossEntropy, "__call__", criterions.make_call)
    for criterion in (LabelSmoothedCrossEntropy, LabelSmoothedCrossEntropyWithKd):
        _replace(criterion, "reduce_loss", criterions.make_reduce_loss)
    criterions.register()
    for task in (Seq2Seq, MultilingualTranslation, LanguageModel):
        _replace(task, "example_to_input", host_batches.make_example_to_input)
    _replace(TrainingModel, "fit", _make_fit)
    _replace(MetricReductionCallback, "custom_on_train_batch_end", callbacks.make_batch_end)
    optimizers.register()
    training_utils.handle_fp16_and_distributed_optimizer = optimizers.make_optimizer_handler(
        training_utils.handle_fp16_and_distributed_optimizer
    )


def _make_fit(stock_fit):
    """`TrainingModel.fit`: steps do not wait for each other, nor for their batches."""
    from tf_ls.neurst.callbacks import take_tensors
    from tf_ls.neurst.eligibility import is_stock_only
    from tf_ls.neurst.host_batches import keep_on_host

    def fit(self, x=None, *args, callbacks=None, **kwargs):
        if not is_stock_only():
            if kwargs.get("steps_per_epoch") is not None:  # Keras does not count them itself then
                x = keep_on_host(self.distribute_strategy, x)
            take_tensors(callbacks)
        return stock_fit(self, x, *args, callbacks=callbacks, **kwargs)

    return fit


def _replace(cls: type, name: str, make) -> None:
    stock = getattr(cls, name)
    method = make(stock)
    method.__doc__ = stock.__doc__
    setattr(method, _MARK, stock)
    setattr(cls, name, method)
