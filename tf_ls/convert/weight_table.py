"""Which weights of a checkpoint a field of a model file is made of, and the other way round.

A table is written once for each architecture; reading and writing both follow it.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Union

import numpy as np
from absl import logging

from tf_ls.convert.checkpoint import Checkpoint
from tf_ls.convert.error import ConversionError
from tf_ls.files import Model

Weights = Mapping[str, np.ndarray]


class Rule(abc.ABC):
    """How a field is made of weights, and weights of the field."""

    @property
    @abc.abstractmethod
    def names(self) -> Sequence[str]:
        """The weights that it is made of."""

    @abc.abstractmethod
    def read(self, weights: Weights) -> np.ndarray:
        """Returns the field."""

    @abc.abstractmethod
    def write(self, field: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the weights, of a field in the shape that `Model.float32` gives."""


@dataclasses.dataclass(frozen=True)
class Same(Rule):
    """A weight as it is."""

    name: str

    @property
    def names(self) -> Sequence[str]:
        return [self.name]

    def read(self, weights: Weights) -> np.ndarray:
        return weights[self.name]

    def write(self, field: np.ndarray) -> dict[str, np.ndarray]:
        return {self.name: field}


@dataclasses.dataclass(frozen=True)
class Transposed(Rule):
    """A matrix [outputs, inputs], as PyTorch's linear layers have theirs."""

    name: str

    @property
    def names(self) -> Sequence[str]:
        return [self.name]

    def read(self, weights: Weights) -> np.ndarray:
        matrix = weights[self.name]
        if matrix.ndim != 2:
            raise ConversionError(f"{self.name}: expected a matrix, got the shape {matrix.shape}")
        return matrix.T

    def write(self, field: np.ndarray) -> dict[str, np.ndarray]:
        return {self.name: field.reshape(len(field), -1).T}


@dataclasses.dataclass(frozen=True)
class Joined(Rule):
    """Parts of the same size side by side: columns of a matrix, or vectors."""

    parts: Sequence[Rule]
    rank: int

    @property
    def names(self) -> Sequence[str]:
        return [name for part in self.parts for name in part.names]

    def read(self, weights: Weights) -> np.ndarray:
        arrays = [part.read(weights) for part in self.parts]
        shapes = {array.shape for array in arrays}
        if len(shapes) != 1 or arrays[0].ndim != self.rank:
            raise ConversionError(
                f"{', '.join(self.names)}: expected {self.rank} dimensions, the same of all, got"
                f" {', '.join(map(str, sorted(shapes)))}"
            )
        return np.concatenate(arrays, axis=-1)

    def write(self, field: np.ndarray) -> dict[str, np.ndarray]:
        whole = field.ravel() if self.rank == 1 else field.reshape(len(field), -1)
        weights = {}
        for part, array in zip(self.parts, np.split(whole, len(self.parts), axis=-1)):
            weights.update(part.write(array))
        return weights


@dataclasses.dataclass(frozen=True)
class WithoutRows(Rule):
    """A table whose first rows nothing reads: they are left out, and zeros when written."""

    name: str
    rows: int

    @property
    def names(self) -> Sequence[str]:
        return [self.name]

    def read(self, weights: Weights) -> np.ndarray:
        return weights[self.name][self.rows :]

    def write(self, field: np.ndarray) -> dict[str, np.ndarray]:
        return {self.name: np.pad(field, [(self.rows, 0), (0, 0)])}


@dataclasses.dataclass(frozen=True)
class Row(Rule):
    """A vector that is a matrix of one row."""

    name: str

    @property
    def names(self) -> Sequence[str]:
        return [self.name]

    def read(self, weights: Weights) -> np.ndarray:
        return weights[self.name].reshape(-1)

    def write(self, field: np.ndarray) -> dict[str, np.ndarray]:
        return {self.name: field[None]}


@dataclasses.dataclass(frozen=True)
class Scaled(Rule):
    """What another rule makes, times a factor; the way back may round."""

    rule: Rule
    factor: float

    @property
    def names(self) -> Sequence[str]:
        return self.rule.names

    def read(self, weights: Weights) -> np.ndarray:
        return (self.rule.read(weights) * np.float64(self.factor)).astype(np.float32)

    def write(self, field: np.ndarray) -> dict[str, np.ndarray]:
        return self.rule.write((field / np.float64(self.factor)).astype(np.float32))


class Constant(Rule):
    """What the other side has no weight for, because it is always the same."""

    def __init__(self, array: np.ndarray, reason: str):
        """Makes one; the reason is told to who wants to write something else."""
        self._array, self._reason = array, reason

    @property
    def names(self) -> Sequence[str]:
        return []

    def read(self, weights: Weights) -> np.ndarray:
        return self._array

    def write(self, field: np.ndarray) -> dict[str, np.ndarray]:
        if field.size != self._array.size or not np.allclose(
            field.ravel(), self._array.ravel(), rtol=0, atol=1e-6
        ):
            raise ConversionError(self._reason)
        return {}


def columns(*parts: Union[str, Rule]) -> Joined:
    """Matrices side by side; names are those of linear layers' weights."""
    return Joined([Transposed(p) if isinstance(p, str) else p for p in parts], 2)


def vectors(*names: str) -> Joined:
    """Vectors one behind the other."""
    return Joined([Same(name) for name in names], 1)


@dataclasses.dataclass(frozen=True)
class WeightTable:
    """All weights of an architecture."""

    fields: Mapping[str, Rule]
    """By the names of fields of `tf_ls.files.Model`."""

    optional: Sequence[str] = ()
    """What fields begin with that there may be or not: all of these, or none."""

    copies: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Names under which a checkpoint may have a weight as well, or instead: its own."""

    no_weights: Sequence[str] = ()
    """Regular expressions of what is no weight: buffers."""

    left_out: Sequence[str] = ()
    """Regular expressions of weights for which there is no field: the log names them."""

    def read(self, weights: Weights, model: Model) -> None:
        """Puts what a checkpoint has into a model.

        Raises:
            ConversionError: weights are missing, or there are others; they are named.
        """
        weights = self._with_originals(weights)
        rules = self._present(weights)
        used = {name for rule in rules.values() for name in rule.names}
        self._check_names(weights, used)
        for field, rule in rules.items():
            try:
                model.put(field, rule.read(weights))
            except ValueError as error:
                raise ConversionError(f"{field}: {error}") from error

    def write(self, model: Model) -> dict[str, np.ndarray]:
        """Returns the weights of a model, each once.

        Raises:
            ConversionError: fields are missing, or have no place in a checkpoint; they are named.
        """
        shapes = model.shapes()
        homeless = [name for name in shapes if name not in self.fields]
        if homeless:
            raise ConversionError(f"there is no weight for {_listed(homeless)}")
        missing = [
            name
            for name in self.fields
            if name not in shapes and not name.startswith(tuple(self.optional))
        ]
        if missing:
            raise ConversionError(f"the model does not have {_listed(missing)}")
        weights: dict[str, np.ndarray] = {}
        for name in shapes:
            try:
                made = self.fields[name].write(model.float32(name, shapes))
            except ValueError as error:
                raise ConversionError(f"{name}: {error}") from error
            for weight, array in made.items():
                if weight in weights and not np.array_equal(weights[weight], array):
                    raise ConversionError(
                        f"{name}: expected the numbers of another field, too: {weight} is both"
                    )
                weights[weight] = array
        return weights

    def _present(self, weights: Weights) -> dict[str, Rule]:
        """The rules without those of parts of which a checkpoint has nothing."""
        rules = dict(self.fields)
        for part in self.optional:
            own = {field: rule for field, rule in rules.items() if field.startswith(part)}
            if not any(name in weights for rule in own.values() for name in rule.names):
                for field in own:
                    del rules[field]
        return rules

    def _with_originals(self, weights: Weights) -> Weights:
        """The same, with what is there under its second name alone under its first, too."""
        readers = {name: functools.partial(weights.__getitem__, name) for name in weights}
        for copy, original in self.copies.items():
            if copy not in weights:
                continue
            if original not in readers:
                readers[original] = readers[copy]
            elif not np.array_equal(weights[copy], readers[original]()):
                raise ConversionError(
                    f"{copy}: expected the same numbers as in {original}: model files have one"
                    " field for both"
                )
        return Checkpoint(readers)

    def _check_names(self, weights: Weights, used: set[str]) -> None:
        missing = sorted(used - set(weights))
        if missing:
            raise ConversionError(f"the checkpoint does not have {_listed(missing)}")
        others = [
            name
            for name in sorted(set(weights) - used - set(self.copies))
            if not _matches(self.no_weights, name)
        ]
        left_out = [name for name in others if _matches(self.left_out, name)]
        unknown = [name for name in others if name not in left_out]
        if unknown:
            raise ConversionError(f"there is no field for {_listed(unknown)}")
        if left_out:
            logging.warning("tf_ls: left out, because nothing reads them: %s", _listed(left_out))


def _matches(patterns: Sequence[str], name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
