"""A Transformer that generates, from lists of ids to arrays, in three lines.

TensorFlow is imported when a model is loaded and not before: NeurST has to be imported first, to
choose its Keras.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

MODEL_FILES = (".pb", ".hdf5")
SIGNATURES = ("properties", "default_options", "serving_with_options")


class Inferred(NamedTuple):
    """The hypotheses of B sentences, best first."""

    tokens: np.ndarray
    """int64 [B, beam, T], EOS included if it came; EOS behind it."""

    scores: np.ndarray
    """float32 [B, beam]; -inf where a search found fewer hypotheses."""


class Transformer:
    """An encoder-decoder that generates.

        model = tf_ls.inference.Transformer("exported", 8)
        tokens, scores = model.infer([[1, 2, 3], [4, 5, 6]])

    Attributes:
        options: how it generates: the options of `tf_ls.ops.SearchOptions` by name, without `eos`.
    """

    def __init__(
        self,
        path: Union[str, os.PathLike],
        max_batch_size: int,
        *,
        options: Optional[Mapping[str, Any]] = None,
        precision: Optional[str] = None,
    ):
        """Loads a model.

        Args:
            path: the folder of a SavedModel of `tf_ls.export.save`, or of a model that NeurST has
                trained; or a Transformer's model file, .pb or .hdf5 (`tf_ls.files`).
            max_batch_size: how many sentences to compute at a time, at most.
            options: by name, in front of the model's own.
            precision: of what is no SavedModel, as for `tf_ls.export.save`; float32 unless given. A
                SavedModel has its own.

        Raises:
            ValueError: the folder has no such model (`UnfitModel`, if it is not NeurST's), the file
                is damaged (`InvalidModelFile`); an option is unknown or out of its range.
        """
        if max_batch_size < 1:
            raise ValueError(f"max_batch_size must be at least 1, got {max_batch_size}")
        self._max_batch_size = max_batch_size
        self._functions = _load(Path(path), precision)
        properties = self._functions["properties"]()
        self._properties = {name: value.numpy() for name, value in properties.items()}
        defaults = self._functions["default_options"]()
        self._options = _with_options(defaults, options or {}, int(self._properties["eos"]))

    @property
    def options(self) -> dict[str, Any]:
        return {name: _python_value(value) for name, value in self._options.items()}

    def infer(self, sentences: Sequence[Sequence[int]]) -> Inferred:
        """Generates from sentences.

        Args:
            sentences: ids int[B, S], or lists of ids of any lengths. Each sentence of a NeurST
                model must end as its own do, with the end of a sentence if that is the padding.

        Returns:
            As many hypotheses of each sentence as the beam has (`num_hypotheses`, of samples).

        Raises:
            ValueError: sentences that are no ids of the model's vocabulary.
        """
        rows = [self._checked(i, sentence) for i, sentence in enumerate(sentences)]
        starts = range(0, max(len(rows), 1), self._max_batch_size)
        return _joined(
            [self._infer(rows[start : start + self._max_batch_size]) for start in starts],
            int(self._properties["eos"]),
        )

    def _infer(self, rows: list[np.ndarray]) -> Inferred:
        longest = max(map(len, rows), default=0)
        source = np.full([len(rows), longest], self._properties["padding_id"], np.int64)
        for place, row in zip(source, rows):
            place[: len(row)] = row
        import tensorflow as tf

        function = self._functions["serving_with_options"]
        outputs = function(source=tf.constant(source), **self._options)
        return Inferred(outputs["tokens"].numpy(), outputs["scores"].numpy())

    def _checked(self, index: int, sentence: Sequence[int]) -> np.ndarray:
        ids = np.asarray(sentence)
        vocabulary, padding = (
            int(self._properties[n]) for n in ("source_vocabulary", "padding_id")
        )
        if ids.size == 0:
            ids = ids.astype(np.int64)
        if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"sentence {index} must be a list of integers, got {sentence!r}")
        outside = (ids < 0) | (ids >= vocabulary)
        if outside.any():
            raise ValueError(
                f"sentence {index} has {ids[outside][0]} at {outside.argmax()}, which is not in the"
                f" vocabulary of {vocabulary}"
            )
        if not self._properties["padding_is_eos"]:
            if (ids == padding).any():
                raise ValueError(f"sentence {index} has the padding, {padding}: leave it out")
        elif not ids.size or ids[-1] != padding or (ids[:-1] == padding).any():
            raise ValueError(f"sentence {index} must end with {padding}, and have it only there")
        return ids


def _load(path: Path, precision: Optional[str]) -> Mapping[str, Any]:
    """The functions by the names of their signatures."""
    if path.suffix in MODEL_FILES and not path.is_dir():
        return _load_file(path, precision)
    if (path / "model_configs.yml").is_file():
        from tf_ls.neurst import model_folder  # before TensorFlow

        described = model_folder.load(os.fspath(path))
        from tf_ls.export.generation_module import GenerationModule
        from tf_ls.export.translation_model import TranslationModel

        if not isinstance(described, TranslationModel):
            raise ValueError(f"{path} has no encoder: it continues prompts, and does not translate")
        return GenerationModule(described, precision or "float32").signatures()
    import tensorflow as tf

    from tf_ls.inference.translator import UnfitModel

    if not (path / "saved_model.pb").is_file():
        raise UnfitModel(f"{path} is neither a SavedModel nor a folder of NeurST's")
    if precision is not None:
        raise ValueError(f"{path} is a SavedModel, whose precision is its own; got {precision}")
    model = tf.saved_model.load(os.fspath(path))
    missing = [name for name in SIGNATURES if name not in model.signatures]
    if missing:
        raise UnfitModel(f"{path} is not from tf_ls.export.save: it has no {', '.join(missing)}")
    if "source" not in model.signatures["serving_with_options"].structured_input_signature[1]:
        raise UnfitModel(f"{path} has no encoder: it continues prompts, and does not translate")
    return _Signatures(model)


def _load_file(path: Path, precision: Optional[str]) -> Mapping[str, Any]:
    from tf_ls import files
    from tf_ls.export import model_file
    from tf_ls.export.generation_module import GenerationModule

    try:
        described = model_file.describe(files.read(path, "transformer"))
    except files.InvalidModelFile as error:
        named = str(error).startswith(f"{path}: ")
        raise files.InvalidModelFile(str(error) if named else f"{path}: {error}") from error
    return GenerationModule(described, precision or "float32").signatures()


class _Signatures(dict):
    """A loaded model's signatures, which do not keep its variables alive themselves."""

    def __init__(self, model: Any):
        super().__init__(model.signatures)
        self._model = model


def _with_options(
    defaults: Mapping[str, tf.Tensor], given: Mapping[str, Any], eos: int
) -> dict[str, tf.Tensor]:
    """Options as tensors; as many hypotheses as the beam has, unless told otherwise."""
    from tf_ls.ops.generation import option_tensors
    from tf_ls.ops.search_options import SearchOptions

    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise ValueError(
            f"unknown option {', '.join(unknown)}; the options are {', '.join(sorted(defaults))}"
        )
    values = {**{name: _python_value(value) for name, value in defaults.items()}, **given}
    if values["max_extra_length"] == -1:
        values["max_extra_length"] = None
    if "num_hypotheses" not in given and values["method"] != "sampling":
        values["num_hypotheses"] = 1 if values["method"] == "greedy" else values["beam_size"]
    options = option_tensors(SearchOptions(eos=eos, **values))
    return {name: options[name] for name in defaults}


def _python_value(tensor: tf.Tensor) -> Any:
    value = tensor.numpy()
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if value.ndim == 0 else tuple(value.tolist())


def _joined(parts: list[Inferred], eos: int) -> Inferred:
    """Batches one behind the other; the shorter ones get EOS behind theirs."""
    longest = max(part.tokens.shape[2] for part in parts)
    tokens = [
        np.pad(
            part.tokens,
            [(0, 0), (0, 0), (0, longest - part.tokens.shape[2])],
            constant_values=eos,
        )
        for part in parts
    ]
    return Inferred(np.concatenate(tokens), np.concatenate([part.scores for part in parts]))
