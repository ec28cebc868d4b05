"""Writes tests/convert/fairseq: checkpoints of Fairseq's own, and what Fairseq computes with them.

Run once, where Fairseq is installed (fairseq-fixed 0.12.3.1, Python 3.11, PyTorch 2.13):

    python tests/convert/make_fairseq_fixtures.py tests/convert/fairseq

The tests need PyTorch alone.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerModel, base_architecture
from fairseq.sequence_generator import SequenceGenerator

SOURCE_WORDS, TARGET_WORDS = 21, 19
SOURCE_LENGTHS, TARGET_LENGTH = [6, 3, 1, 5], 6
BEAM = 4
SIZES = {
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 24,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_ffn_embed_dim": 24,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "max_source_positions": 40,
    "max_target_positions": 30,
    "dropout": 0.1,
}
PRE_NORM = {"encoder_normalize_before": True, "decoder_normalize_before": True}
MODELS = {
    "pre_norm": {**PRE_NORM, "share_decoder_input_output_embed": True},
    "post_norm": {"activation_fn": "gelu"},
    "shared": {"share_all_embeddings": True, "no_scale_embedding": True},
    "bart": {
        "share_all_embeddings": True,
        "encoder_learned_pos": True,
        "decoder_learned_pos": True,
        "layernorm_embedding": True,
        "activation_fn": "gelu",
    },
    "mbart": {
        **PRE_NORM,
        "share_all_embeddings": True,
        "encoder_learned_pos": True,
        "decoder_learned_pos": True,
        "layernorm_embedding": True,
        "activation_fn": "gelu_accurate",
    },
}


def dictionary(size: int) -> Dictionary:
    words = Dictionary()
    for i in range(size - len(words)):
        words.add_symbol(f"word{i}")
    return words


def build(
    changes: dict, seed: int, eos_logit: float
) -> tuple[argparse.Namespace, TransformerModel, argparse.Namespace]:
    args = argparse.Namespace(**SIZES, **changes, arch="transformer", left_pad_source=True)
    base_architecture(args)
    shared = getattr(args, "share_all_embeddings", False)
    task = argparse.Namespace(
        source_dictionary=dictionary(TARGET_WORDS if shared else SOURCE_WORDS),
        target_dictionary=dictionary(TARGET_WORDS),
    )
    torch.manual_seed(seed)
    model = TransformerModel.build_model(args, task).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.4 * torch.randn_like(parameter)
        # The norm behind the stack adds to the logit of EOS, so that hypotheses end.
        norm = model.decoder.layer_norm or model.decoder.layers[-1].final_layer_norm
        eos = model.decoder.output_projection.weight[2]
        norm.bias += eos_logit * eos / eos.dot(eos)
    return args, model, task


def sources(words: int) -> torch.Tensor:
    """Padded on the left, as Fairseq does it; each ends with EOS (2)."""
    rng = np.random.default_rng(0)
    rows = torch.ones(len(SOURCE_LENGTHS), max(SOURCE_LENGTHS), dtype=torch.long)
    for row, length in zip(rows, SOURCE_LENGTHS):
        row[len(row) - length :] = torch.tensor([*rng.integers(4, words, length - 1), 2])
    return rows


def hypotheses(model, task, batch: dict, beam: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens [B, beam, T], EOS behind shorter ones, and scores [B, beam]."""
    generator = SequenceGenerator([model], task.target_dictionary, beam_size=beam)
    found = generator.generate([model], {"net_input": batch})
    longest = max(len(one["tokens"]) for row in found for one in row)
    tokens = np.full([len(found), beam, longest], 2)
    for i, row in enumerate(found):
        for j, one in enumerate(row):
            tokens[i, j, : len(one["tokens"])] = one["tokens"].numpy()
    return tokens, np.array([[float(one["score"]) for one in row] for row in found], np.float32)


def one_that_ends(changes: dict) -> tuple:
    """A model with hypotheses that end before the longest length, where Fairseq forces EOS."""
    for seed in range(100):
        args, model, task = build(changes, seed, eos_logit=2.0 + seed % 4)
        source = sources(len(task.source_dictionary))
        batch = {"src_tokens": source, "src_lengths": torch.tensor(SOURCE_LENGTHS)}
        tokens, scores = hypotheses(model, task, batch, BEAM)
        lengths = (tokens != 2).sum(axis=2).max(axis=1) + 1
        ended = lengths[lengths < SIZES["max_target_positions"]]
        if len(ended) >= 2 and max(ended) >= 5:
            greedy, _ = hypotheses(model, task, batch, 1)
            return args, model, batch, greedy, tokens, scores
    raise ValueError("no seed makes a model whose hypotheses end")


def state_of(args: argparse.Namespace, model: TransformerModel, name: str) -> dict:
    """What Fairseq's trainer writes: newer versions `cfg`, older ones `args`."""
    weights = model.state_dict()
    if name == "shared":  # as versions before 0.9 had it
        weights = joined_projections(weights)
    new = {"_name": "transformer", **vars(args)}
    return {
        "args": args if name in ("pre_norm", "shared") else None,
        "cfg": {"bart": {"model": args}, "mbart": {"model": new}, "post_norm": {"model": new}}.get(
            name
        ),
        "model": weights,
        "optimizer_history": [],
        "extra_state": {"epoch": 1},
    }


def joined_projections(weights: dict) -> dict:
    joined = {}
    for name, weight in weights.items():
        if ".q_proj." in name:
            parts = [weights[name.replace(".q_proj.", f".{p}_proj.")] for p in "qkv"]
            joined[name.replace(".q_proj.", ".in_proj_")] = torch.cat(parts)
        elif ".k_proj." not in name and ".v_proj." not in name:
            joined[name] = weight
    return joined


def main(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, changes in MODELS.items():
        args, model, batch, greedy, tokens, scores = one_that_ends(changes)
        source = batch["src_tokens"]
        rng = np.random.default_rng(1)
        given = rng.integers(4, TARGET_WORDS, [len(source), TARGET_LENGTH])
        given[:, 0] = 2
        with torch.no_grad():
            logits = model(**batch, prev_output_tokens=torch.tensor(given))[0].numpy()
        torch.save(state_of(args, model, name), folder / f"{name}.pt")
        np.savez_compressed(
            folder / f"{name}.npz",
            source=source.numpy(),
            target_input=given,
            logits=logits,
            greedy_tokens=greedy,
            beam_tokens=tokens,
            beam_scores=scores,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
