"""The Transformer as PyTorch's users write it: fused attention, autocast, fused Adam.

Pre-norm and relu, sinusoids, the output projection tied to the target's embedding: what NeurST
builds by default.
"""

from __future__ import annotations

import math
from typing import Optional

import torch
from torch import nn

IGNORED = -100  # the label of padding


def attend(q, k, v, mask: Optional[torch.Tensor], causal: bool, dropout: float) -> torch.Tensor:
    """Attention of [B, N, L, D]; returns [B, L, N * D]."""
    context = nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal
    )
    return context.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    def __init__(self, hidden: int, heads: int, dropout: float, causal: bool):
        super().__init__()
        self.heads, self.dropout, self.causal = heads, dropout, causal
        self.qkv, self.out = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)

    def forward(self, x, mask=None):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(attend(q, k, v, mask, self.causal, self.dropout if self.training else 0.0))


class CrossAttention(nn.Module):
    def __init__(self, hidden: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q, self.kv = nn.Linear(hidden, hidden), nn.Linear(hidden, 2 * hidden)
        self.out = nn.Linear(hidden, hidden)

    def forward(self, x, memory, mask=None):
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(memory).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(attend(q, k, v, mask, False, self.dropout if self.training else 0.0))


class Layer(nn.Module):
    """An encoder or a decoder layer; `mask` says which of the source's positions are no padding."""

    def __init__(self, decoder: bool, hidden: int, heads: int, filter_size: int, dropout: float):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(hidden, eps=1e-6) for _ in range(2 + decoder))
        self.self_attention = SelfAttention(hidden, heads, dropout, causal=decoder)
        self.cross_attention = CrossAttention(hidden, heads, dropout) if decoder else None
        self.dense1, self.dense2 = nn.Linear(hidden, filter_size), nn.Linear(filter_size, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, memory=None, mask=None):
        if self.cross_attention is None:
            x = x + self.dropout(self.self_attention(self.norms[0](x), mask))
        else:
            x = x + self.dropout(self.self_attention(self.norms[0](x)))
            x = x + self.dropout(self.cross_attention(self.norms[2](x), memory, mask))
        inner = self.dropout(torch.relu(self.dense1(self.norms[1](x))))
        return x + self.dropout(self.dense2(inner))


class Embedding(nn.Module):
    def __init__(self, vocab_size: int, hidden: int, dropout: float, longest: int):
        super().__init__()
        self.words = nn.Embedding(vocab_size, hidden)
        nn.init.normal_(self.words.weight, std=hidden**-0.5)
        self.dropout = nn.Dropout(dropout)
        self.scale = hidden**0.5
        half = hidden // 2
        rates = torch.exp(torch.arange(half) * (-math.log(10000.0) / (half - 1)))
        angles = torch.arange(longest)[:, None] * rates
        self.register_buffer("positions", torch.cat([angles.sin(), angles.cos()], dim=1))

    def forward(self, ids):
        return self.dropout(self.words(ids) * self.scale + self.positions[: ids.shape[1]])


class Transformer(nn.Module):
    """Returns the label-smoothed cross entropy, the mean over tokens."""

    def __init__(
        self,
        hidden: int,
        heads: int,
        filter_size: int,
        layers: int,
        dropout: float,
        vocab_size: int,
        longest: int = 512,
    ):
        super().__init__()
        self.source = Embedding(vocab_size, hidden, dropout, longest)
        self.target = Embedding(vocab_size, hidden, dropout, longest)
        sizes = hidden, heads, filter_size, dropout
        self.encoder = nn.ModuleList(Layer(False, *sizes) for _ in range(layers))
        self.decoder = nn.ModuleList(Layer(True, *sizes) for _ in range(layers))
        self.encoder_norm = nn.LayerNorm(hidden, eps=1e-6)
        self.decoder_norm = nn.LayerNorm(hidden, eps=1e-6)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, source, target_input, labels, mask=None):
        x = self.source(source)
        for layer in self.encoder:
            x = layer(x, mask=mask)
        memory = self.encoder_norm(x)
        x = self.target(target_input)
        for layer in self.decoder:
            x = layer(x, memory, mask)
        logits = nn.functional.linear(self.decoder_norm(x), self.target.words.weight, self.bias)
        return nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, label_smoothing=0.1
        )


class TorchStep:
    """Calling it with what `Transformer` takes, on its device, takes a training step.

    float16 with the loss scaled dynamically. compiled: None for eager, "static" for a program a
    shape, "dynamic" for one program that takes any.
    """

    def __init__(self, model: Transformer, device: str, compiled: Optional[str] = None):
        self._device = device
        model = model.to(device).train()
        self._model = model
        if compiled is not None:
            self._model = torch.compile(model, dynamic=compiled == "dynamic")
        self._optimizer = torch.optim.Adam(
            model.parameters(), 1e-4, betas=(0.9, 0.98), eps=1e-9, fused=True
        )
        self._scaler = torch.amp.GradScaler(device)

    def __call__(self, *batch: Optional[torch.Tensor]) -> torch.Tensor:
        with torch.autocast(self._device, torch.float16):
            loss = self._model(*batch)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        return loss.detach()
