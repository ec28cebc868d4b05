"""BERT in PyTorch: products and fused attention of its own, weights of a model file."""

from __future__ import annotations

from typing import Optional

import torch
from torch import nn
from torch.nn import functional

from tf_ls import files


class Layer(nn.Module):
    """Post-norm, as Devlin et al. 2018 have it."""

    def __init__(self, model: files.Model, place: str, heads: int):
        super().__init__()
        self._heads = heads
        attention = f"{place}/multihead_project"
        self.qkv = _linear(model, f"{attention}_kernel_qkv", f"{attention}_bias_qkv")
        self.output = _linear(model, f"{attention}_kernel_output", f"{attention}_bias_output")
        self.attention_norm = _norm(model, place, "multihead_norm")
        self.dense1 = _linear(model, f"{place}/ffn_first_kernel", f"{place}/ffn_first_bias")
        self.dense2 = _linear(model, f"{place}/ffn_second_kernel", f"{place}/ffn_second_bias")
        self.ffn_norm = _norm(model, place, "ffn_norm")

    def forward(self, x: torch.Tensor, mask: Optional[torch.Tensor]) -> torch.Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(q, k, v, mask)
        x = self.attention_norm(x + self.output(attended.transpose(1, 2).flatten(2)))
        return self.ffn_norm(x + self.dense2(functional.gelu(self.dense1(x))))


class Bert(nn.Module):
    """From ids to hidden states.

    Args:
        model: a Bert.
        heads: of its attention.
    """

    def __init__(self, model: files.Model, heads: int):
        super().__init__()
        words, positions, types = (
            nn.Parameter(torch.tensor(model.float32(f"src_embedding/{name}_embedding")))
            for name in ("token", "position", "token_type")
        )
        self.words, self.positions, self.types = words, positions, types
        self.norm = _norm(model, "src_embedding", "norm")
        layers = range(model.layers("encoder_stack"))
        self.layers = nn.ModuleList([Layer(model, f"encoder_stack/{i}", heads) for i in layers])

    def forward(self, ids: torch.Tensor, mask: Optional[torch.Tensor] = None) -> torch.Tensor:
        """Returns hidden states [B, S, H].

        Args:
            ids: int64 [B, S], all of type 0.
            mask: [B, S], not 0 at tokens; None: there is no padding.
        """
        x = functional.embedding(ids, self.words) + self.positions[: ids.shape[1]] + self.types[0]
        x = self.norm(x)
        keys = None if mask is None else (mask != 0)[:, None, None]
        for layer in self.layers:
            x = layer(x, keys)
        return x


def _linear(model: files.Model, kernel: str, bias: str) -> nn.Linear:
    weights = torch.tensor(model.float32(kernel)).flatten(1).T.contiguous()
    linear = nn.Linear(weights.shape[1], weights.shape[0])
    linear.weight = nn.Parameter(weights)
    linear.bias = nn.Parameter(torch.tensor(model.float32(bias)).flatten())
    return linear


def _norm(model: files.Model, place: str, name: str) -> nn.LayerNorm:
    gamma, beta = (model.float32(f"{place}/{name}_{part}") for part in ("scale", "bias"))
    norm = nn.LayerNorm(len(gamma), model.setting("epsilon"))
    norm.weight, norm.bias = (nn.Parameter(torch.tensor(part)) for part in (gamma, beta))
    return norm
