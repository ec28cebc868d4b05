"""Fused Transformer layers for TensorFlow.

Importing it registers the operations, so that `tf.saved_model.load` knows them: at once if
TensorFlow is imported, or else as soon as it is. It imports neither TensorFlow nor NumPy itself,
and its parts when they are first used:

    tf_ls.accelerate   fused operations in Keras models of other libraries
    tf_ls.models       Keras models
    tf_ls.layers       the Keras layers they are made of
    tf_ls.optimizers   Keras optimizers
    tf_ls.ops          the operations they are made of
    tf_ls.export       models that leave the trainer, as SavedModels
    tf_ls.files        model files, LightSeq's and of its kind
    tf_ls.convert      other libraries' models as model files, and back
    tf_ls.inference    what runs them
    tf_ls.pipeline     tasks on texts: from a text to an answer
    tf_ls.neurst       what makes NeurST use them
    tf_ls.testing      checks operations, also your own, against references
"""

from __future__ import annotations

from tf_ls import lazy
from tf_ls.registration import register_operations

__version__ = "0.1.0"

_MODULES = (
    "acceleration",
    "convert",
    "export",
    "files",
    "inference",
    "layers",
    "models",
    "neurst",
    "ops",
    "optimizers",
    "pipelines",
    "testing",
)
_FUNCTIONS = {"accelerate": "acceleration", "pipeline": "pipelines"}

__all__ = ["__version__", *_FUNCTIONS, *_MODULES]
__getattr__, __dir__ = lazy.attach(__name__, _FUNCTIONS, _MODULES)

register_operations()
