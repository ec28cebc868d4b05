"""What requests to models that generate have in common, whatever they generate from."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional, Protocol

import numpy as np

from tf_ls.inference.cancellation import Cancellation
from tf_ls.inference.ids import checked_ids
from tf_ls.ops.generation import option_tensors, options_of
from tf_ls.ops.search_options import SearchOptions
from tf_ls.serving.batch_queue import Item
from tf_ls.serving.errors import invalid
from tf_ls.serving.limits import Limits
from tf_ls.serving.loaded_model import LoadedModel

# The signature that computes a batch, unless a model has another for what is asked for.
WITH_OPTIONS = "serving_with_options"
OF_IDS = ("serving_default", WITH_OPTIONS)
NEEDED = ("properties", "default_options", *OF_IDS)

Rows = Sequence[np.ndarray]


class Hypotheses(Protocol):
    """What was generated from one row of a request: n hypotheses, best first."""

    tokens: np.ndarray
    """int64 [n, T]"""

    lengths: np.ndarray
    """int64 [n]"""

    scores: np.ndarray
    """float32 [n]"""


class Work(NamedTuple):
    """A request, ready for the batcher."""

    group: Group
    items: list[Item]
    tokens: int
    """Of all that is generated from."""


class GenerationModel(abc.ABC):
    """What of a loaded model is generation.

    Attributes:
        signatures: the names of those that are answered here.
        ids_input, text_input: what they call what is generated from.
    """

    ids_input: str
    text_input: str

    @classmethod
    @abc.abstractmethod
    def of(cls, model: LoadedModel) -> Optional[GenerationModel]:
        """Returns None if tf_ls has not exported the model, or it does something else."""

    def __init__(self, model: LoadedModel, signatures: Sequence[str], vocabulary: str):
        """Asks a model for its properties.

        Args:
            model: what is generated with.
            signatures: to be answered here.
            vocabulary: which property is the number of words that may be generated.
        """
        self._model = model
        self.signatures = frozenset(signatures)
        self._properties = model.call("properties", {})
        self._target_vocabulary = int(self._properties[vocabulary])
        self._padding_id = int(self._properties["padding_id"])
        self._eos = int(self._properties["eos"])
        self._defaults = model.call("default_options", {})
        for name in self.signatures:
            if self._defaults.keys() <= model.signature(name).inputs.keys():
                model.set_defaults(name, self._defaults)

    @abc.abstractmethod
    def warm_up(self) -> None:
        """Generates once, with few and with many rows, so that the first clients need not wait."""

    @abc.abstractmethod
    def work(self, signature: str, inputs: Mapping[str, Any], limits: Limits) -> Work:
        """Checks a request and cuts it into items.

        Args:
            signature: one of `signatures`.
            inputs: by the names `ids_input`, int64 [B, S] or rows of any lengths, or `text_input`,
                bytes [B]; at least one; and options as arrays.
            limits: that hold.

        Raises:
            ServingError: something about the request is wrong, or it is too much.
        """

    @abc.abstractmethod
    def outputs(self, signature: str, results: Sequence[Sequence[Any]]) -> dict[str, np.ndarray]:
        """The outputs of a signature from the results of a request's items."""

    @abc.abstractmethod
    def generate(
        self,
        signature: str,
        payloads: Sequence[Any],
        options: SearchOptions,
        cancellation: Cancellation,
    ) -> list[list[Any]]:
        """Generates from all rows of all payloads at once, by one call of a signature."""

    def _rows(self, inputs: Mapping[str, Any], limits: Limits) -> Rows:
        """What is generated from, as ids; not checked yet."""
        if self.text_input not in inputs:
            return inputs[self.ids_input]
        texts = inputs[self.text_input]
        if len(texts) > limits.sentences:
            raise invalid(
                f"{self.text_input}: this server takes at most {limits.sentences}, got {len(texts)}"
            )
        return self._model.call("encode", {self.text_input: texts})[self.ids_input]

    def _options_of(self, inputs: Mapping[str, Any]) -> SearchOptions:
        """The options of a request, in front of the model's.

        Raises:
            ServingError: one is out of its range.
        """
        others = (self.ids_input, self.text_input)
        given = {name: value for name, value in inputs.items() if name not in others}
        return self._checked_options(given) if given else self._default_options

    @functools.cached_property
    def _default_options(self) -> SearchOptions:
        return self._checked_options({})

    def _checked_options(self, given: Mapping[str, np.ndarray]) -> SearchOptions:
        values = {k: _python_value(k, v) for k, v in {**self._defaults, **given}.items()}
        try:
            options = options_of(self._eos, values)
        except ValueError as error:
            raise invalid(str(error)) from None
        for token in options.forbidden_tokens:
            if token >= self._target_vocabulary:
                raise invalid(
                    f"forbidden_tokens has {token}, which is not in the vocabulary of"
                    f" {self._target_vocabulary}"
                )
        return options

    def _option_inputs(self, options: SearchOptions) -> dict[str, Any]:
        """Options as inputs of a signature."""
        tensors = option_tensors(options)
        return {name: tensors[name] for name in self._defaults}

    def _ids_outputs(self, found: Sequence[Hypotheses]) -> dict[str, np.ndarray]:
        """The outputs of signatures of ids, EOS behind hypotheses that are shorter than others."""
        tokens = [h.tokens[:, : h.lengths.max(initial=0)] for h in found]
        return {
            "tokens": joined(tokens, self._eos),
            "lengths": np.stack([h.lengths for h in found]),
            "scores": np.stack([h.scores for h in found]),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """What differs in nothing but its rows; alone if it does not join."""

    model: GenerationModel
    options: SearchOptions
    joins: bool = True
    signature: str = WITH_OPTIONS

    def run(self, payloads: list[Any], cancellation: Cancellation) -> list[Any]:
        return self.model.generate(self.signature, payloads, self.options, cancellation)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Group)
            and self.joins
            and other.joins
            and self.model is other.model
            and self.options == other.options
            and self.signature == other.signature
        )

    def __hash__(self) -> int:
        return hash((id(self.model), self.options, self.signature))


def check_ids(name: str, row: np.ndarray, vocabulary: int) -> None:
    """Raises ServingError if a row has something that is no id of a vocabulary."""
    try:
        checked_ids(name, row, vocabulary)
    except ValueError as error:
        raise invalid(str(error)) from None


def joined(arrays: Rows, filler: Any) -> np.ndarray:
    """Arrays of one rank and any shapes as one, with a filler behind each."""
    shape = np.max([array.shape for array in arrays], axis=0)
    whole = np.full([len(arrays), *shape], filler, arrays[0].dtype)
    for place, array in zip(whole, arrays):
        place[tuple(map(slice, array.shape))] = array
    return whole


def _python_value(name: str, value: np.ndarray) -> Any:
    if value.ndim > 1 or (value.ndim == 1) != (name == "forbidden_tokens"):
        expected = "a vector" if name == "forbidden_tokens" else "a scalar"
        raise invalid(f"{name} must be {expected}, got the shape {list(value.shape)}")
    if value.ndim == 1:
        return tuple(value.tolist())
    item = value.item()
    return item.decode(errors="replace") if isinstance(item, bytes) else item
