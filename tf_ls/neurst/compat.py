"""Lets NeurST 0.1.2 run on TensorFlow 2.12 to 2.21.

NeurST was written for TensorFlow 2.3 to 2.5. Each function here supplies one thing that it asks
for and that newer versions moved or dropped, or that it gave up there itself, looks first whether
it is missing, and may be called again. `mend_tensorflow` goes before `import neurst`,
`mend_neurst` after it.
"""

import importlib
import importlib.util
import inspect
import os
import sys
import types
from importlib import metadata

from absl import logging


def mend_tensorflow() -> None:
    """Supplies what NeurST misses when it is imported and while it runs.

    Raises:
      ImportError: something must be installed, or TensorFlow was imported with Keras 3 before.
    """
    require_scipy()
    choose_keras_2()
    supply_distutils()
    supply_distribution_strategy_context()
    restore_legacy_optimizers()
    restore_cond()
    restore_indexed_slices()
    accept_step_of_graph_summary()
    do_without_tensorboard()
    unite_loss_scale_optimizers()


def mend_neurst() -> None:
    """Mends what is inside NeurST itself, after its import."""
    accept_positional_inner_optimizer()
    accumulate_and_freeze()
    aggregate_before_clipping()


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def require_scipy() -> None:
    """NeurST reads audio with SciPy, imports it always, and does not declare it."""
    if not _installed("scipy"):
        raise ImportError("NeurST needs SciPy and does not install it: pip install scipy")


def choose_keras_2() -> None:
    """NeurST is written for Keras 2; from TensorFlow 2.16 tf.keras is Keras 3 by default.

    The package tf_keras is Keras 2, and TF_USE_LEGACY_KERAS=1 makes tf.keras mean it. TensorFlow
    reads the variable once, when it is first imported. Where the package keras is Keras 2 itself
    (up to TensorFlow 2.15) the variable is not needed.
    """
    imported_before = "tensorflow" in sys.modules
    if not imported_before and _keras_is_3() and _installed("tf_keras"):
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    import tensorflow as tf

    if not _installed("tf_keras") and _keras_is_3():
        minor = ".".join(tf.__version__.split(".")[:2])
        raise ImportError(
            f"NeurST needs Keras 2, which TensorFlow {tf.__version__} takes from the package "
            f"tf_keras: pip install tf_keras~={minor}.0"
        )
    if hasattr(
        tf.keras, "Operation"
    ):  # Keras 3 alone has it, and only Keras 3 surely has a version
        if imported_before:
            problem = "TensorFlow was imported before NeurST, with Keras 3"
        else:
            problem = f"TF_USE_LEGACY_KERAS={os.environ['TF_USE_LEGACY_KERAS']} asks for Keras 3"
        raise ImportError(
            f"NeurST needs Keras 2, but {problem}. Set the environment variable "
            "TF_USE_LEGACY_KERAS=1, or unset it and import neurst before tensorflow."
        )


def _keras_is_3() -> bool:
    try:
        return int(metadata.version("keras").split(".")[0]) >= 3
    except metadata.PackageNotFoundError:
        return False


def supply_distutils() -> None:
    """NeurST compares versions with distutils.version, and Python 3.12 has no distutils."""
    try:
        importlib.import_module("distutils.version")
    except ImportError:
        from packaging.version import Version

        package = types.ModuleType("distutils")
        package.__path__ = []  # other submodules are not found, as without the package
        package.version = types.ModuleType("distutils.version")
        package.version.LooseVersion = Version
        sys.modules["distutils"] = package
        sys.modules["distutils.version"] = package.version


def supply_distribution_strategy_context() -> None:
    """TensorFlow 2.14 merged distribution_strategy_context into distribute_lib."""
    name = "tensorflow.python.distribute.distribution_strategy_context"
    try:
        importlib.import_module(name)
    except ImportError:
        from tensorflow.python import distribute
        from tensorflow.python.distribute import distribute_lib

        context = types.ModuleType(name)
        for function in (
            "has_strategy",
            "get_strategy",
            "get_replica_context",
            "get_cross_replica_context",
            "in_cross_replica_context",
        ):
            setattr(context, function, getattr(distribute_lib, function))
        sys.modules[name] = context
        distribute.distribution_strategy_context = context


def restore_legacy_optimizers() -> None:
    """NeurST needs _set_hyper and _HAS_AGGREGATE_GRAD, which optimizers lost in TensorFlow 2.11."""
    import tensorflow as tf

    optimizers = tf.keras.optimizers
    for name in ("Optimizer", "Adam", "Adagrad", "Adadelta", "SGD"):
        if not hasattr(getattr(optimizers, name), "_set_hyper"):
            setattr(optimizers, name, getattr(optimizers.legacy, name))


def restore_cond() -> None:
    """float16: the loss scale asks for control_flow_ops.cond, which TensorFlow 2.14 moved."""
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_ops

    if not hasattr(control_flow_ops, "cond"):
        control_flow_ops.cond = tf.cond


def restore_indexed_slices() -> None:
    """Accumulating gradients asks for framework.ops.IndexedSlices, which TensorFlow 2.13 moved."""
    import tensorflow as tf
    from tensorflow.python.framework import ops

    if not hasattr(ops, "IndexedSlices"):
        ops.IndexedSlices = tf.IndexedSlices


def accept_step_of_graph_summary() -> None:
    """NeurST calls summary_ops_v2.graph(graph, step=0); TensorFlow 2.5 dropped `step`."""
    from tensorflow.python.ops import summary_ops_v2

    graph = summary_ops_v2.graph
    if "step" in inspect.signature(graph).parameters:
        return

    def graph_at_step(graph_data, step=None):
        del step
        return graph(graph_data)

    summary_ops_v2.graph = graph_at_step


def do_without_tensorboard() -> None:
    """tf.summary.scalar needs the package tensorboard, which TensorFlow 2.21 no longer installs."""
    import tensorflow as tf

    if _installed("tensorboard") or getattr(tf.summary, "scalar", None) is _no_scalar:
        return
    tf.summary.scalar = _no_scalar
    logging.warning(
        "tf_ls: NeurST writes no summaries without tensorboard (pip install tensorboard)"
    )


def _no_scalar(name, data, step=None, description=None):
    """Stands for tf.summary.scalar: writes nothing and says so with False, as the original does."""
    del name, data, step, description
    return False


def unite_loss_scale_optimizers() -> None:
    """float16: NeurST takes the loss scale from tensorflow.python.keras, tf.keras has its own.

    Since TensorFlow 2.6 the two differ, and the optimizer of tf.keras refuses the loss scale of
    the other. Under the old name NeurST finds the module that tf.keras uses.
    """
    import tensorflow as tf

    name = "tensorflow.python.keras.mixed_precision.loss_scale_optimizer"
    in_use = sys.modules[tf.keras.mixed_precision.LossScaleOptimizer.__module__]
    if in_use.__name__ != name and hasattr(in_use, "_DynamicLossScaleState"):
        mixed_precision = importlib.import_module("tensorflow.python.keras.mixed_precision")
        sys.modules[name] = in_use
        mixed_precision.loss_scale_optimizer = in_use


def accept_positional_inner_optimizer() -> None:
    """float16 with Horovod: Keras passes inner_optimizer by position, NeurST wants a keyword."""
    from neurst.training import hvd_utils

    optimizer_class = hvd_utils.HorovodDistributedLossScaleOptimizer
    initialize = optimizer_class.__init__
    if "inner_optimizer" in inspect.signature(initialize).parameters:
        return

    def __init__(self, inner_optimizer, **kwargs):
        initialize(self, inner_optimizer=inner_optimizer, **kwargs)

    optimizer_class.__init__ = __init__


def accumulate_and_freeze() -> None:
    """update_cycle and freeze_variables: the trainer ignores both from TensorFlow 2.5 on.

    Only on TensorFlow 2.3 and 2.4 does it build the model that knows them, out of private parts of
    Keras. It is made to take its TensorFlow for 2.4, and `TrainingModel` for that model; nothing
    else in it asks for a version.
    """
    import tensorflow as tf
    from neurst.exps import trainer

    from tf_ls.neurst.training_model import TrainingModel

    if trainer.GradAccumKerasModel is TrainingModel:
        return
    parse = trainer.LooseVersion
    trainer.LooseVersion = lambda version: parse("2.4" if version == tf.__version__ else version)
    trainer.GradAccumKerasModel = TrainingModel


def aggregate_before_clipping() -> None:
    """Clipping takes whole gradients, and Horovod and BytePS reduce float32 ones too.

    NeurST reduces gradients over workers together with scaling the loss, for float16; for float32
    it hands back the optimizer as it came, and each worker trains a model of its own.
    """
    from neurst.training import training_utils
    from neurst.utils import compat

    from tf_ls.neurst.aggregation import prepare_optimizer

    finish = training_utils.handle_fp16_and_distributed_optimizer
    if hasattr(finish, "prepares_optimizer"):
        return

    def handle_fp16_and_distributed_optimizer(optimizer, lr_schedule, hvd_backend=None):
        reduced = compat.CUSTOM_GLOBAL_FLOATX == "float16"
        prepare_optimizer(optimizer, None if reduced else hvd_backend)
        return finish(optimizer, lr_schedule, hvd_backend)

    handle_fp16_and_distributed_optimizer.prepares_optimizer = True
    training_utils.handle_fp16_and_distributed_optimizer = handle_fp16_and_distributed_optimizer
