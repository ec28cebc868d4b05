"""Small NeurST models with random weights, fused and stock on the same variables."""

import contextlib
from unittest import mock

import neurst  # noqa: F401  fuses; before TensorFlow, so that Keras 2 is chosen
import numpy as np
import tensorflow as tf
from neurst.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropy
from neurst.layers.decoders.transformer_decoder import TransformerDecoder
from neurst.layers.encoders.transformer_encoder import TransformerEncoder
from neurst.layers.search.beam_search import BeamSearch
from neurst.layers.search.sampling import Sampling
from neurst.models.ctnmt_transformer import CtnmtTransformer
from neurst.models.encoder_decoder_model import EncoderDecoderModel
from neurst.models.gpt2 import GPT2
from neurst.models.speech_transformer import SpeechTransformer
from neurst.models.transformer import Transformer
from neurst.models.waitk_transformer import WaitkTransformer
from neurst.utils.hparams_sets import get_hyper_parameters

SEARCHES = ((BeamSearch, "call"), (Sampling, "call"))
FUSED = (
    (TransformerEncoder, "call"),
    (TransformerDecoder, "call"),
    (EncoderDecoderModel, "get_symbols_to_logits_fn"),
    (LabelSmoothedCrossEntropy, "__call__"),
    (LabelSmoothedCrossEntropy, "reduce_loss"),
    *SEARCHES,
)
VOCABULARY = 40
UNK, BOS, EOS = VOCABULARY - 3, VOCABULARY - 2, VOCABULARY - 1
TARGET_LENGTHS = [2, 6, 4, 1]
TARGET_MASK = tf.sequence_mask(TARGET_LENGTHS, 6)


@contextlib.contextmanager
def stock(methods=FUSED):
    """NeurST's own methods."""
    fused = [getattr(cls, name) for cls, name in methods]
    for (cls, name), method in zip(methods, fused):
        setattr(cls, name, method._tf_ls_stock)
    try:
        yield
    finally:
        for (cls, name), method in zip(methods, fused):
            setattr(cls, name, method)


def without_dropout(params):
    return {k: 0.0 if k.endswith("dropout_rate") else v for k, v in params.items()}


def ids(*shape):
    return tf.constant(np.random.default_rng(0).integers(0, VOCABULARY - 3, shape), tf.int64)


def meta(**more):
    special = {"vocab_size": VOCABULARY, "eos_id": EOS, "bos_id": BOS, "pad_id": EOS}
    return {**special, "unk_id": UNK, "language": "en", **more}


def build(cls, hparams_set, *metas, model_args=None, **more):
    """A model without dropout whose variables are all away from their initial zeros and ones."""
    args = {flag.name: flag.default for flag in cls.class_or_method_args()}
    args.update(get_hyper_parameters(hparams_set)["model.params"])
    args.update(model_args or {})
    tf.keras.utils.set_random_seed(1)
    model = cls.new(without_dropout(args), *metas, name="model", **more)
    for variable in model.trainable_variables:
        variable.assign_add(tf.random.normal(variable.shape, stddev=0.1))
    return model


def translation_inputs():
    return {
        "src": ids(4, 7),
        "src_length": tf.constant([7, 3, 1, 5]),
        "trg": ids(4, 6),
        "trg_input": ids(4, 6),
        "trg_length": tf.constant(TARGET_LENGTHS),
    }


def speech_inputs():
    inputs = translation_inputs()
    audio = np.random.default_rng(1).normal(size=(4, 28, 8, 1))
    inputs.update(src=tf.constant(audio, tf.float32), src_length=tf.constant([28, 12, 4, 20]))
    return inputs


def translation_model(cls=Transformer, model_args=None, **more):
    return build(cls, "transformer_toy", meta(), meta(), model_args=model_args, **more)


def ctnmt_model():
    def bert_without_dropout(name):
        return {"model.params": without_dropout(get_hyper_parameters(name)["model.params"])}

    with mock.patch("neurst.models.ctnmt_transformer.get_hyper_parameters", bert_without_dropout):
        args = {"bert_mode": "dynamic_switch"}
        return build(CtnmtTransformer, "ctnmt_toy", meta(), meta(), model_args=args)


def gpt2_model():
    args = {"timing": "emb", "share_embedding_and_softmax_weights": True}
    args.update(num_layers=2, hidden_size=8, num_attention_heads=2, filter_size=10)
    return build(GPT2, "gpt2_toy", meta(), model_args=args)


MODELS = {
    "pre-norm": (translation_model, translation_inputs),
    "post-norm": (
        lambda: translation_model(
            model_args={"encoder.post_normalize": True, "decoder.post_normalize": True}
        ),
        translation_inputs,
    ),
    "output layer of its own": (
        lambda: translation_model(
            model_args={"modality.share_embedding_and_softmax_weights": False}
        ),
        translation_inputs,
    ),
    "gelu": (
        lambda: translation_model(
            model_args={"encoder.ffn_activation": "gelu", "decoder.ffn_activation": "tanh"}
        ),
        translation_inputs,
    ),
    "wait-k": (
        lambda: translation_model(
            WaitkTransformer, {"encoder.attention_monotonic": True}, waitk_lagging=2
        ),
        translation_inputs,
    ),
    "speech": (
        lambda: build(
            SpeechTransformer,
            "speech_transformer_toy",
            meta(audio_feature_dim=8, audio_feature_channels=1),
            meta(),
        ),
        speech_inputs,
    ),
    "CTNMT": (lambda: ctnmt_model(), translation_inputs),
}


def relative_error(actual, expected):
    actual, expected = (np.asarray(tf.convert_to_tensor(x), np.float64) for x in (actual, expected))
    return np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), 1e-30)
