"""An encoder, as operations take it."""

from __future__ import annotations

import dataclasses
from typing import Any

from tf_ls.ops.embedding import check_token_types
from tf_ls.ops.layer_stack import LayerStack, stack_inputs


@dataclasses.dataclass(frozen=True)
class Encoder(LayerStack):
    """The weights and the structure of an encoder, with what is in front of it and behind it.

    Layers are those of `encoder_layer`.
    """

    causal: bool = False
    """Whether a token attends only to itself and tokens before it."""

    token_types: int = 1
    """How many types of tokens there are (BERT's segments), see `encode`. Where there are more than
    one, `positions` is a table [token_types * P, H]: the sum of the embeddings of type t and of
    position p is in row t * P + p, and sentences have at most P tokens."""


def encoder_inputs(encoder: Encoder) -> dict[str, Any]:
    """An encoder as operations take it, by the names of their inputs and attributes.

    Raises:
        ValueError: an encoder without layers; unknown positions or activation; fewer than one
            token type.
    """
    return {
        **stack_inputs(encoder),
        "causal": encoder.causal,
        "token_types": check_token_types(encoder.token_types),
    }
