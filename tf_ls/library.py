"""The shared library with the operations, loaded when the first of them is used, or before.

    from tf_ls.library import library

    library.ops.ls_encoder_layer(...)

The environment variable TF_LS_LIBRARY names another build of the library, for those who work on it.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from types import ModuleType

_PACKAGE = Path(__file__).resolve().parent


class Library:
    """The operations of _tf_ls_ops.so as Python functions, in `ops`."""

    def __init__(self) -> None:
        self._warned = False

    @property
    def ops(self) -> ModuleType:
        """The module of generated functions, one for each operation.

        Raises:
            ImportError: if the library was not built, or not for the TensorFlow that is imported.
            NotImplementedError: inside of a function that XLA compiles.
        """
        self.load()
        _check_not_compiled_by_xla()
        return self._operations

    def load(self) -> None:
        """Registers the operations, which `import tf_ls` already does (registration.py).

        Raises:
            ImportError: if the library was not built, or not for the TensorFlow that is imported.
        """
        # Before the lock of the property is taken: this may wait for a thread that registers them.
        import tensorflow as tf  # noqa: F401

        self._operations  # noqa: B018  registers them

    def load_or_warn(self) -> bool:
        """Registers the operations; says in the log, once, if and why that is not possible.

        Returns:
            Whether they are registered.
        """
        try:
            self.load()
        except Exception as error:  # whatever it is, a process may do without the operations
            if not self._warned:
                self._warned = True
                from absl import logging

                logging.warning(
                    "tf_ls: its operations are not available, so nothing is fused and NeurST runs"
                    " on its own layers: %s",
                    error if isinstance(error, ImportError) else repr(error),
                )
            return False
        return True

    @functools.cached_property
    def device_types(self) -> list[str]:
        """The kinds of devices that the operations run on: "CPU", and "GPU" if built for it."""
        from tensorflow.python.framework import kernels

        self.load()
        registered = kernels.get_registered_kernels_for_op("LSEncoderLayer").kernel
        return sorted({kernel.device_type for kernel in registered})

    @functools.cached_property
    def _operations(self) -> ModuleType:
        """Loads the library.

        Raises:
            ImportError: if the library was not built, or not for the TensorFlow that is imported.
        """
        import tensorflow as tf

        override = os.environ.get("TF_LS_LIBRARY")
        if not override:
            _check_tensorflow(tf.__version__)
        path = Path(override) if override else _PACKAGE / "_tf_ls_ops.so"
        if not path.exists():
            raise ImportError(f"{path} does not exist. {_HOW_TO_BUILD}")
        try:
            return tf.load_op_library(str(path))
        except (tf.errors.OpError, OSError) as error:
            raise ImportError(
                f"TensorFlow {tf.__version__} cannot load {path}, which was"
                f" {_built_for()}. {_HOW_TO_REBUILD} TensorFlow says: {error}"
            ) from error


_HOW_TO_BUILD = (
    "tf_ls is used from its source tree, or its installation is incomplete: run `pip install .`"
    " in the source tree, and start Python from another folder."
)
_HOW_TO_REBUILD = (
    "Build tf_ls again for this TensorFlow: `pip install --force-reinstall --no-deps .` in its"
    " source tree."
)


def _check_tensorflow(imported: str) -> None:
    """Raises ImportError unless the library was built for this minor version of TensorFlow."""
    try:
        from tf_ls import _build_info
    except ImportError as error:
        raise ImportError(f"The operations of tf_ls are not built. {_HOW_TO_BUILD}") from error
    built = _build_info.TENSORFLOW_VERSION
    if _minor(built) != _minor(imported):
        raise ImportError(
            f"This tf_ls was built for TensorFlow {_minor(built)} ({built}), but TensorFlow"
            f" {imported} is imported. {_HOW_TO_REBUILD} Or install the TensorFlow that it was"
            f" built for: `pip install '{_build_info.TENSORFLOW_DISTRIBUTION}=={_minor(built)}.*'`."
        )


def _check_not_compiled_by_xla() -> None:
    """Raises where the operations would end in a page of XLA's errors."""
    from tensorflow.python.framework import ops
    from tensorflow.python.ops import control_flow_util

    if control_flow_util.GraphOrParentsInXlaContext(ops.get_default_graph()):
        raise NotImplementedError(
            "XLA cannot compile the operations of tf_ls: set jit_compile=False in the tf.function"
            " or Model.compile that calls them (Keras 3 compiles with XLA unless told not to)."
        )


def _built_for() -> str:
    try:
        from tf_ls import _build_info
    except ImportError:
        return "built separately"
    return f"built for TensorFlow {_build_info.TENSORFLOW_VERSION}"


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


library = Library()
