"""What models in three lines have in common."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Optional, Union

from tf_ls.inference import loaded_functions
from tf_ls.inference.model_text import ModelText

if TYPE_CHECKING:
    import tensorflow as tf

    from tf_ls.ops.search_options import SearchOptions


class InferenceModel:
    """A model of one kind, and how many sentences it computes at a time."""

    kind: loaded_functions.Kind

    def __init__(
        self,
        path: Union[str, os.PathLike],
        max_batch_size: int,
        *,
        precision: Optional[str] = None,
    ):
        """Loads a model.

        Args:
            path: the folder of a SavedModel of `tf_ls.export.save`; or what that exports: the
                folder of a model of NeurST's or of Hugging Face's, or a model file, .pb or .hdf5.
            max_batch_size: how many sentences to compute at a time, at most.
            precision: of what is no SavedModel, as for `tf_ls.export.save`; float32 unless given. A
                SavedModel has its own.

        Raises:
            FileNotFoundError: there is nothing.
            ValueError: what is there is no such model (`UnfitModel`), or it is damaged
                (`InvalidModelFile`).
        """
        if max_batch_size < 1:
            raise ValueError(f"max_batch_size must be at least 1, got {max_batch_size}")
        self._max_batch_size = max_batch_size
        self._functions = loaded_functions.load(path, self.kind, precision)
        self._properties = self._functions.properties


class GeneratingModel(InferenceModel):
    """A model that generates.

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
            path, max_batch_size, precision: as for InferenceModel.
            options: by name, in front of the model's own.

        Raises:
            ValueError: what InferenceModel raises; an option is unknown or out of its range.
        """
        super().__init__(path, max_batch_size, precision=precision)
        from tf_ls.ops.generation import option_tensors

        defaults = self._functions["default_options"]()
        self._search_options = self._merged(defaults, dict(options or {}))
        tensors = option_tensors(self._search_options)
        self._options = {name: tensors[name] for name in defaults}

    @property
    def options(self) -> dict[str, Any]:
        return {name: _python_value(value) for name, value in self._options.items()}

    @property
    def eos(self) -> int:
        """The token that ends a hypothesis."""
        return int(self._properties["eos"])

    @property
    def text(self) -> Optional[ModelText]:
        """Text to ids and back; None if the model does not have it inside."""
        return ModelText(self._functions, self.kind) if ModelText.is_in(self._functions) else None

    def _default_hypotheses(self, options: Mapping[str, Any]) -> int:
        """How many hypotheses there are by the other options, if nobody says it."""
        raise NotImplementedError

    def _merged(self, defaults: Mapping[str, tf.Tensor], given: dict[str, Any]) -> SearchOptions:
        """Options that are given, in front of the model's own."""
        from tf_ls.ops.generation import options_of

        unknown = sorted(set(given) - set(defaults))
        if unknown:
            raise ValueError(
                f"unknown option {', '.join(unknown)}; the options are"
                f" {', '.join(sorted(defaults))}"
            )
        values = {**{name: _python_value(value) for name, value in defaults.items()}, **given}
        if "num_hypotheses" not in given:
            values["num_hypotheses"] = self._default_hypotheses(values)
        return options_of(self.eos, values)


def _python_value(tensor: tf.Tensor) -> Any:
    value = tensor.numpy()
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if value.ndim == 0 else tuple(value.tolist())
