"""A NeurST Transformer of random weights and its beam search, as NeurST's predict entry runs them.

Importing this mends what NeurST misses in newer TensorFlow, so it comes before TensorFlow.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from neurst_model import defaults, make_transformer, vocabulary  # isort: skip  before TensorFlow
import numpy as np
import tensorflow as tf
from neurst.layers.search.beam_search import BeamSearch
from neurst.training import training_utils

# Of hypotheses of a fixed length.
_LENGTH_PENALTY = 0.6


class NeurSTSearch:
    """Beam search for hypotheses of a fixed length: EOS may only be one of the last two words.

    Args:
        hparams_set: the name of NeurST's hyperparameters.
        vocab_size: of both sides; the last ids are unknown word, begin and end of a sentence.
        dtype: NeurST's --dtype.
    """

    def __init__(self, hparams_set: str, vocab_size: int, dtype: str):
        training_utils.startup_env(dtype=dtype, enable_xla=False)
        self._meta = meta = vocabulary(vocab_size)
        self._bos = meta["bos_id"]
        self._model = make_transformer(hparams_set, meta)
        for variable in self._model.variables:
            variable.assign(random_weight(_short_name(variable), variable.shape))
        self._searches = {}

    def export(self, path: Path, precision: str) -> None:
        """Writes the model as `tf_ls.export.save` does."""
        from tf_ls import ops
        from tf_ls.export.translation_model import TranslationModel
        from tf_ls.export.translation_module import TranslationModule
        from tf_ls.neurst.model_folder import encoder_decoder_of

        meta = self._meta
        options = ops.SearchOptions(
            eos=meta["eos_id"],
            forbidden_tokens=(meta["unk_id"],),
            length_penalty_alpha=_LENGTH_PENALTY,
            max_extra_length=None,
        )
        described = TranslationModel(
            encoder_decoder_of(self._model), meta["bos_id"], meta["pad_id"], options
        )
        module = TranslationModule(described, precision)
        tf.saved_model.save(module, str(path), signatures=module.signatures())

    def weights(self) -> dict[str, np.ndarray]:
        """Float32, by NeurST's names without the model's own."""
        return {_short_name(variable): variable.numpy() for variable in self._model.variables}

    def __call__(self, source: np.ndarray, beam_size: int, length: int) -> np.ndarray:
        """Returns the best hypotheses, int32 [sentences, length], of int64 [sentences, any]."""
        return self._search(beam_size, length)(tf.constant(source)).numpy()

    def is_fused(self, beam_size: int, length: int) -> bool:
        """Whether the graph of this search is tf_ls' operation."""
        graph = self._search(beam_size, length).get_concrete_function().graph
        return any(op.type == "LSGenerate" for op in graph.get_operations())

    def _search(self, beam_size: int, length: int):
        if (beam_size, length) not in self._searches:
            args = defaults(BeamSearch)
            args.update(
                beam_size=beam_size, length_penalty=_LENGTH_PENALTY, extra_decode_length=length
            )
            args.update(maximum_decode_length=length, minimum_decode_length=length - 1)
            search = BeamSearch(args)
            search.set_model(self._model)

            @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int64)])
            def run(source: tf.Tensor) -> tf.Tensor:
                inputs = {"src": source, "src_padding": tf.zeros(tf.shape(source))}
                inputs["trg_input"] = tf.fill([tf.shape(source)[0]], self._bos)
                return search(inputs)[0]

            self._searches[beam_size, length] = run
        return self._searches[beam_size, length]


def random_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The same in every process. Layers are strong: else tied weights have a word repeated."""
    weight = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    if name.endswith("gamma"):
        return 1 + 0.1 * weight
    if len(shape) == 1:
        return 0.1 * weight
    if "emb/weights" in name or "shared/weights" in name:
        return weight * shape[1] ** -0.5
    ends_block = "output_transform" in name or "dense2" in name
    return weight * (12 if ends_block else 1) * shape[0] ** -0.5


def _short_name(variable: tf.Variable) -> str:
    return variable.name.split("/", 1)[1].split(":")[0]
