"""A model as its file describes it: settings, and numbers that are read when they are asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from tf_ls.files import precision
from tf_ls.files.definitions import (
    COLUMNS,
    SAMPLING_METHODS,
    SETTINGS,
    SIZES_OF_A_PART,
    TASKS,
    Family,
    Field,
    Setting,
    family_of,
)

# gelu is its form by tanh, gelu_nonapprox that by erf.
ACTIVATIONS = ("relu", "tanh", "gelu", "gelu_nonapprox", "silu")
_DEFAULT_EPSILON = 1e-6
_INT32 = 2**31
_LARGEST_FLOAT = float(np.finfo(np.float32).max)


class InvalidModelFile(ValueError):
    """A file, or a model that is to be one, is not as it must be; the message names the field."""


class Numbers(NamedTuple):
    """The numbers of a field as they are stored: views of a file, or arrays."""

    precision: str
    """float32, float16, bfloat16, int8, or float64, which is read only."""

    pieces: Sequence[np.ndarray]
    """One behind the other, each of rank 1, of the dtype `precision.STORED`, not empty."""

    scales: Sequence[np.ndarray] = ()
    """Of int8: pieces of float32."""

    @property
    def count(self) -> int:
        return sum(map(len, self.pieces))


class Model:
    """A Transformer, Bert or Gpt as files have it.

    Attributes:
        family: which of them.
        settings: by their names; what is missing is 0, False or empty, as in the files.
        weights: stored numbers by their names in HDF5, such as
            "encoder_stack/0/ffn_first_kernel".
    """

    def __init__(
        self,
        family: str,
        settings: Optional[Mapping[str, Any]] = None,
        weights: Optional[Mapping[str, Numbers]] = None,
    ):
        """Makes a model; nothing is checked before `check`.

        Args:
            family: transformer, bert or gpt.
            settings: see above; none yet if not given.
            weights: the same.

        Raises:
            ValueError: an unknown family.
        """
        self.family: Family = family_of(family)
        self.settings = dict(settings or {})
        self.weights = dict(weights or {})

    def put(self, name: str, array: Any) -> None:
        """Sets the numbers of a field from an array of any shape, which must not change."""
        numbers = np.ascontiguousarray(array, precision.STORED["float32"]).ravel()
        self.field(name)
        self.weights[name] = Numbers("float32", [numbers] if numbers.size else [])

    def field(self, name: str) -> Field:
        """Returns the definition of a field.

        Raises:
            InvalidModelFile: there is none of this name.
        """
        part, *index = name.split("/")
        last = index.pop() if index else ""
        definition = self.family.parts.get(part)
        if (
            definition is None
            or len(index) != definition.repeated
            or last not in definition.fields
            or not all(i.isdigit() for i in index)
        ):
            raise InvalidModelFile(f"{self.family.name} has no field {name}")
        return definition.fields[last]

    def setting(self, name: str) -> Any:
        """Returns a setting, or what files leave out: 0, False or empty.

        For `epsilon` and `activation`, which are tf_ls's own, it is what LightSeq's models have.
        """
        kind = self.family.settings[name].kind
        value = self.settings.get(name, {"string": "", "bool": False}.get(kind, 0))
        if value:
            return value
        if name == "epsilon":
            return _DEFAULT_EPSILON
        if name == "activation":
            return "gelu" if self.setting("use_gelu") else "relu"
        if name == "sampling_method":
            return SAMPLING_METHODS[self.family.name][0]
        return value

    def labels(self) -> list[str]:
        """Returns the names of the classes of `head`; empty if it has none.

        Raises:
            InvalidModelFile: the setting is no JSON of a list of strings.
        """
        return self._json("labels", "a list of strings", lambda x: _is_list_of(str, x)) or []

    def prefix(self) -> list[int]:
        """Returns the tokens with which hypotheses begin, behind the start token.

        Raises:
            InvalidModelFile: the setting is no JSON of a list of integers.
        """
        return self._json("prefix", "a list of integers", lambda x: _is_list_of(int, x)) or []

    def search_options(self) -> dict[str, Any]:
        """Returns options of `tf_ls.ops.SearchOptions` that LightSeq's settings do not have.

        They go in front of the settings. Their names and values are not checked here.

        Raises:
            InvalidModelFile: the setting is no JSON of an object.
        """
        return self._json("search_options", "an object", lambda x: isinstance(x, dict)) or {}

    def _json(self, name: str, expected: str, fits: Callable[[Any], bool]) -> Any:
        text = self.setting(name)
        if not text:
            return None
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            _bad_setting(name, f"JSON of {expected}", text)
        if not fits(value):
            _bad_setting(name, f"JSON of {expected}", text)
        return value

    def layers(self, stack: str) -> int:
        """Returns how many layers a stack has."""
        indices = {name.split("/")[1] for name in self.weights if name.startswith(f"{stack}/")}
        return len(indices)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of each field that there is.

        Raises:
            InvalidModelFile: a field is missing, or has another count than its shape and the sizes
                of the other fields make it.
        """
        sizes = {("", "L"): self.layers("decoder_stack")}
        shapes = {}
        for name, field in self._expected():
            numbers = self.weights.get(name)
            if numbers is None or not numbers.count:
                if field.optional:
                    continue
                raise InvalidModelFile(f"{name} is missing")
            part = name.split("/")[0]
            sized_as = self.family.parts[part].sizes_of or part
            shapes[name] = _shape(name, field, numbers.count, sizes, sized_as)
            self._check_scales(name, field, numbers, shapes[name])
        for name in self.weights:
            if self.weights[name].count and name not in shapes:
                raise InvalidModelFile(f"{name}: there is no such layer")
        return shapes

    def check(self) -> None:
        """Checks everything but the numbers themselves, which `float32` does.

        Raises:
            InvalidModelFile: a setting or a field is missing, unknown, or does not fit the others.
        """
        self._check_settings()
        shapes = self.shapes()
        hidden = shapes["encoder_stack/0/multihead_norm_scale"][0]
        heads = self.setting("head_num")
        if heads < 1 or hidden % heads:
            raise InvalidModelFile(
                f"{SETTINGS}/head_num: expected a divisor of the hidden size {hidden}, got {heads}"
            )
        self._check_norms(shapes)
        self._check_ids(shapes)
        if self.family.name == "transformer":
            self._check_search(shapes)
        if self.family.name == "bert":
            self._check_task(shapes)

    def stored(self, name: str) -> np.ndarray:
        """Returns the numbers of a field as they are stored, [n]: of one piece, a view.

        Raises:
            InvalidModelFile: some are infinite or NaN.
        """
        numbers = self.weights[name]
        return _checked(name, _joined(numbers.pieces), numbers.precision)

    def scales(self, name: str) -> np.ndarray:
        """Returns the scales [n] of a field in int8.

        Raises:
            InvalidModelFile: some are negative, infinite or NaN.
        """
        scales = _checked(f"{name} (scales)", _joined(self.weights[name].scales), "float32")
        if scales.min() < 0:
            raise InvalidModelFile(f"{name} (scales): {scales.min()} is negative")
        return scales

    def float32(
        self, name: str, shapes: Optional[Mapping[str, tuple[int, ...]]] = None
    ) -> np.ndarray:
        """Returns the numbers of a field in their shape; a view of the file if it has float32.

        Args:
            name: of a field that there is.
            shapes: what `shapes` returned, for who reads many.

        Raises:
            InvalidModelFile: some are infinite or NaN, or not as `shapes` says.
        """
        shape = (shapes or self.shapes())[name]
        numbers = self.stored(name)
        if self.weights[name].precision == "int8":
            scales = self.field(name).scales
            matrix = numbers.reshape(as_matrix(shape))
            floats = precision.dequantize(matrix, self.scales(name), scales)
        else:
            floats = precision.to_float32(numbers, self.weights[name].precision)
        if floats.dtype != numbers.dtype:  # float64, and what scales make, may be too large
            _checked(name, floats.ravel(), "float32")
        return floats.reshape(shape)

    def _expected(self) -> Iterator[tuple[str, Field]]:
        """The fields that there may be: layers first, whose sizes embeddings then have."""
        for stack in self.family.stacks:
            if not self.layers(stack):
                raise InvalidModelFile(f"{stack} is missing: it has no layers")
            for i in range(self.layers(stack)):
                for name, field in self.family.parts[stack].fields.items():
                    yield f"{stack}/{i}/{name}", field
        for part, definition in self.family.parts.items():
            if definition.repeated:
                continue
            absent = definition.optional and not any(
                self.weights[name].count for name in self.weights if name.startswith(f"{part}/")
            )
            if not absent:
                for name, field in definition.fields.items():
                    yield f"{part}/{name}", field

    def _check_scales(
        self, name: str, field: Field, numbers: Numbers, shape: tuple[int, ...]
    ) -> None:
        scales = sum(map(len, numbers.scales))
        expected = 0
        if numbers.precision == "int8":
            if not field.scales:
                raise InvalidModelFile(f"{name}: cannot be int8")
            rows, columns = as_matrix(shape)
            expected = columns if field.scales == COLUMNS else rows
        if scales != expected:
            raise InvalidModelFile(f"{name} (scales): expected {expected} numbers, got {scales}")

    def _check_settings(self) -> None:
        for name, value in self.settings.items():
            definition = self.family.settings.get(name)
            if definition is None:
                raise InvalidModelFile(f"{self.family.name} has no setting {SETTINGS}/{name}")
            check_setting(name, definition, value)
        if not 0 < self.setting("epsilon") < 1:
            _bad_setting("epsilon", "a number between 0 and 1", self.setting("epsilon"))
        if self.setting("activation") not in ACTIVATIONS:
            _bad_setting("activation", f"one of {ACTIVATIONS}", self.setting("activation"))
        methods = SAMPLING_METHODS.get(self.family.name)
        if methods and self.setting("sampling_method") not in methods:
            _bad_setting("sampling_method", f"one of {methods}", self.setting("sampling_method"))

    def _check_norms(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """A norm is of two fields; models of pre-norm layers have it."""
        post_norm = "is_post_ln" in self.family.settings and self.setting("is_post_ln")
        for part in ("src_embedding", "trg_embedding"):
            if part in self.family.parts:
                there = [f"{part}/{name}" in shapes for name in ("norm_scale", "norm_bias")]
                if there != [True, True] and not (post_norm and there == [False, False]):
                    missing = "norm_bias" if there[0] else "norm_scale"
                    raise InvalidModelFile(f"{part}/{missing} is missing")

                own = f"{part}/embedding_norm"
                there = [f"{own}_scale" in shapes, f"{own}_bias" in shapes]
                if there[0] != there[1]:
                    raise InvalidModelFile(f"{own}_{'bias' if there[0] else 'scale'} is missing")
                if post_norm and there[0]:
                    raise InvalidModelFile(
                        f"{own}_scale: with is_post_ln, the norm behind the embedding is norm_scale"
                    )

    def _check_ids(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        words = {"eos": shapes["src_embedding/token_embedding"][0]}
        if "trg_embedding/token_embedding" in shapes:
            words["trg"] = shapes["trg_embedding/token_embedding"][1]
        for name in self.family.settings:
            # A padding that is no token is a way to have none.
            if name.endswith("_id") and name != "src_padding_id":
                vocabulary, token = words[name.split("_")[0]], self.setting(name)
                if not 0 <= token < vocabulary:
                    _bad_setting(name, f"a token of the vocabulary of {vocabulary}", token)

    def _check_search(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        vocabulary = shapes["trg_embedding/token_embedding"][1]
        for token in self.prefix():
            if not 0 <= token < vocabulary:
                _bad_setting("prefix", f"tokens of the vocabulary of {vocabulary}", token)
        self.search_options()

    def _check_task(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """A task has what computes it, and each class a label, or none has."""
        task, labels = self.setting("task"), self.labels()
        if task not in TASKS:
            _bad_setting("task", f"one of {TASKS}", task)
        needed = {
            "text-classification": ("head", "pooler"),
            "token-classification": ("head",),
            "fill-mask": ("mlm_head",),
        }
        for part in needed.get(task, ()):
            if f"{part}/kernel" not in shapes:
                raise InvalidModelFile(f"{part}/kernel is missing, for {SETTINGS}/task {task}")
        classes = shapes.get("head/bias", (0,))[0]
        if labels and len(labels) != classes:
            _bad_setting("labels", f"as many as the head has classes, {classes}", len(labels))


def check_setting(name: str, setting: Setting, value: Any) -> None:
    """Raises InvalidModelFile if a setting is not of its kind."""
    kind = setting.kind
    if kind == "string":
        expected = f"a string of at most {setting.longest} characters of ASCII"
        fits = isinstance(value, str) and value.isascii() and len(value) <= setting.longest
    elif kind == "bool":
        fits, expected = isinstance(value, (bool, np.bool_)), "True or False"
    elif isinstance(value, (bool, np.bool_)):
        fits, expected = False, "a number"
    elif kind == "int32":
        expected = "a 32-bit integer"
        fits = isinstance(value, (int, np.integer)) and -_INT32 <= value < _INT32
    else:
        expected = "a finite number of float32"
        fits = isinstance(value, (int, float, np.number)) and abs(float(value)) <= _LARGEST_FLOAT
    if not fits:
        _bad_setting(name, expected, value)


def _is_list_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and all(type(element) is kind for element in value)


def as_matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns rows and columns of a field that may be in int8: see `Field.scales`."""
    return shape[0], math.prod(shape[1:])


def _bad_setting(name: str, expected: str, value: Any) -> None:
    raise InvalidModelFile(f"{SETTINGS}/{name}: expected {expected}, got {value!r}")


def _shape(
    name: str, field: Field, count: int, sizes: dict[tuple[str, str], int], part: str
) -> tuple[int, ...]:
    """The shape of a field of so many numbers; its one unknown size, if any, is known then.

    Those of an embedding are the part's.
    """

    def key(symbol: str) -> tuple[str, str]:
        return (part if symbol in SIZES_OF_A_PART else "", symbol)

    known = [s if isinstance(s, int) else sizes.get(key(s)) for s in field.shape]
    product = math.prod(size for size in known if size is not None)
    unknown = {s for s, size in zip(field.shape, known) if size is None}
    if not unknown:
        if count != product:
            shape = " x ".join(map(str, known))
            raise InvalidModelFile(
                f"{name}: expected {shape} = {product} numbers, got {count}"
                if len(known) > 1
                else f"{name}: expected {shape} numbers, got {count}"
            )
        return tuple(known)
    (symbol,) = unknown
    if count % product:
        raise InvalidModelFile(f"{name}: expected a multiple of {product} numbers, got {count}")
    sizes[key(symbol)] = count // product
    return tuple(count // product if size is None else size for size in known)


def _joined(pieces: Sequence[np.ndarray]) -> np.ndarray:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _checked(name: str, numbers: np.ndarray, stored_as: str) -> np.ndarray:
    if not precision.are_finite(numbers, stored_as):
        raise InvalidModelFile(f"{name} has an infinity or a NaN")
    return numbers
