"""The description of an operation that is to be checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from tf_ls.testing.comparison import TOLERANCES

Inputs = dict[str, Any]
MakeInputs = Callable[[np.random.Generator, str], Inputs]

DTYPES = ("float32", "bfloat16", "float16")
DEVICES = ("CPU", "GPU")


@dataclasses.dataclass(frozen=True)
class Case:
    """An operation, how to draw inputs for it, and what it has to agree with.

    Attributes:
        name: what tables and the command line call it.
        make_inputs: makes the operation's keyword arguments from a random generator, which is all
            that it may draw from, and the dtype under test: tensors, lists of tensors, and values
            that are no tensors and are passed as they are. NumPy arrays become tensors, those of
            floating-point numbers in the dtype under test; an input of another dtype (float32
            weights, say) is made a tensor here. Shapes should be drawn too: see
            tf_ls.testing.shapes.
        operation: called with the inputs; returns a tensor, or tensors in a sequence or dict.
        reference: called with the inputs, floating-point tensors in float64; returns the same in
            float64, as tensors or as NumPy arrays.
        gradients: whether to compare gradients, of all floating-point tensors among the inputs.
        gradient_reference: a reference made of differentiable TensorFlow operations, for gradients
            alone; None: `reference` is one.
        constants: names of inputs that have no gradient.
        stock: what speed-ups are measured against: TensorFlow operations that compute the same
            from the same inputs, in their dtypes. None: no speed-up.
        make_timing_inputs: `make_inputs` for timing, of shapes that are worth it; None: the
            largest inputs that were drawn for comparing.
        prepare: makes what the operation and `stock` take of the inputs, outside of what is
            timed; variables, for example. None: they take the inputs.
        dtypes: what the operation is checked in.
        devices: "CPU", "GPU" or both.
        kernels: names of registered TensorFlow operations without which it cannot run; it is
            checked on the devices that have a kernel for each of them.
        output_dtype: of floating-point outputs; None: the dtype under test.
        tolerances: the largest relative error ||a - b|| / ||b|| of an output or gradient, by the
            dtype under test.

    Raises:
        ValueError: if something of this does not fit together.
    """

    name: str
    make_inputs: MakeInputs
    operation: Callable[..., Any]
    reference: Callable[..., Any]
    gradients: bool = True
    gradient_reference: Callable[..., Any] | None = None
    constants: Sequence[str] = ()
    stock: Callable[..., Any] | None = None
    make_timing_inputs: MakeInputs | None = None
    prepare: Callable[[Inputs], Inputs] | None = None
    dtypes: Sequence[str] = DTYPES
    devices: Sequence[str] = DEVICES
    kernels: Sequence[str] = ()
    output_dtype: str | None = None
    tolerances: Mapping[str, float] = dataclasses.field(default_factory=lambda: dict(TOLERANCES))

    def __post_init__(self):
        if not self.name or not isinstance(self.name, str) or self.name.split() != [self.name]:
            raise ValueError(f"a case's name must be one word, got {self.name!r}")
        for field in ("make_inputs", "operation", "reference"):
            if not callable(getattr(self, field)):
                raise ValueError(f"{field} of case {self.name} must be a function")
        for field in ("dtypes", "devices", "constants", "kernels"):
            if isinstance(getattr(self, field), str):
                raise ValueError(f"{field} of case {self.name} must be a list of names")
        if not self.dtypes or not self.devices:
            raise ValueError(f"case {self.name} must have a dtype and a device")
        if unknown := set(self.devices) - set(DEVICES):
            raise ValueError(f"devices of case {self.name} must be CPU or GPU, got {unknown}")
        for dtype in self.dtypes:
            try:
                known = tf.as_dtype(dtype).name == dtype
            except TypeError:
                known = False
            if not known:
                raise ValueError(f"case {self.name} has an unknown dtype, {dtype!r}")
            if dtype not in self.tolerances:
                raise ValueError(f"case {self.name} has no tolerance for {dtype}")
