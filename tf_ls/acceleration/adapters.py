"""The classes of layers that accelerate() knows."""

from __future__ import annotations

from typing import Any, Optional

from tf_ls.acceleration import bert, gpt2
from tf_ls.acceleration.adapter import Adapter

# Encoders that transformers copies from BERT's, names of classes apart.
_BERT_ENCODERS = {
    "bert": "TFBertEncoder",
    "camembert": "TFCamembertEncoder",
    "electra": "TFElectraEncoder",
    "layoutlm": "TFLayoutLMEncoder",
    "roberta": "TFRobertaEncoder",
    "tapas": "TFTapasEncoder",
    "xlm_roberta": "TFXLMRobertaEncoder",
}

# By name, so that the libraries are imported by those who use them alone.
ADAPTERS = {
    **{
        f"transformers.models.{model}.modeling_tf_{model}.{encoder}": bert.ADAPTER
        for model, encoder in _BERT_ENCODERS.items()
    },
    "transformers.models.gpt2.modeling_tf_gpt2.TFBlock": gpt2.ADAPTER,
}


def adapter_of(layer: Any) -> Optional[Adapter]:
    """The adapter of a layer's class; of no class derived from it, which may compute otherwise."""
    return ADAPTERS.get(f"{type(layer).__module__}.{type(layer).__qualname__}")
