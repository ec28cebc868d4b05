"""Fairseq's own checkpoints, and what Fairseq computed with them (make_fairseq_fixtures.py)."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from numpy_models import transformer_logits

import tf_ls.inference as lsi
from tf_ls import convert, files

torch = pytest.importorskip("torch")

FOLDER = Path(__file__).parent / "fairseq"
MODELS = ["pre_norm", "post_norm", "shared", "bart", "mbart"]
PADDING, EOS = 1, 2
BEAM = 4
# Where Fairseq forces EOS; tf_ls ends hypotheses there as they are.
LONGEST = 30

all_models = pytest.mark.parametrize("name", MODELS)


def expected(name):
    return np.load(FOLDER / f"{name}.npz")


def sentences(name):
    return [row[row != PADDING] for row in expected(name)["source"]]


def hypothesis(tokens):
    """Up to EOS, EOS included."""
    tokens = list(tokens)
    return tokens[: tokens.index(EOS) + 1]


@pytest.fixture(scope="module")
def models():
    return {name: convert.read(FOLDER / f"{name}.pt") for name in MODELS}


# What it computes ---------------------------------------------------------------------------------


@all_models
def test_logits(models, name):
    wanted = expected(name)
    for source, target_input, logits in zip(
        sentences(name), wanted["target_input"], wanted["logits"]
    ):
        got = transformer_logits(models[name], source, target_input)
        np.testing.assert_allclose(got, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ending", [".pb", ".hdf5"])
@all_models
def test_greedy_search(tmp_path, name, ending):
    path = convert.convert(FOLDER / f"{name}.pt", tmp_path / f"model{ending}")
    found = lsi.Transformer(path, 8, options={"beam_size": 1}).infer(sentences(name))
    for tokens, wanted in zip(found.tokens[:, 0], expected(name)["greedy_tokens"][:, 0]):
        wanted = hypothesis(wanted)
        if len(wanted) == LONGEST:
            assert list(tokens[: LONGEST - 1]) == wanted[:-1]
        else:
            assert hypothesis(tokens) == wanted


@all_models
def test_beam_search(tmp_path, name):
    """Token for token, with Fairseq's own scores, where it does not force EOS.

    In the last step more hypotheses may finish than there are places: Fairseq then keeps those of
    earlier steps, tf_ls the best. The best of all is the same.
    """
    path = convert.convert(FOLDER / f"{name}.pt", tmp_path / "model.pb")
    found = lsi.Transformer(path, 8, options={"beam_size": BEAM}).infer(sentences(name))
    wanted = expected(name)
    same = 0
    for tokens, scores, wanted_tokens, wanted_scores in zip(
        *found, wanted["beam_tokens"], wanted["beam_scores"]
    ):
        wanted_tokens = [hypothesis(row) for row in wanted_tokens]
        if max(map(len, wanted_tokens)) == LONGEST:
            continue
        got = [hypothesis(row) for row in tokens]
        assert got[0] == wanted_tokens[0]
        assert (scores > wanted_scores - 1e-4).all()
        if got == wanted_tokens:
            np.testing.assert_allclose(scores, wanted_scores, atol=1e-4)
            same += 1
    assert same >= 2


def test_settings(models):
    model = models["post_norm"]
    assert [model.setting(n) for n in ("trg_start_id", "trg_end_id", "src_padding_id")] == [2, 2, 1]
    assert model.setting("is_post_ln")
    assert model.setting("activation") == "gelu_nonapprox"
    assert model.setting("epsilon") == 1e-5
    assert models["mbart"].setting("activation") == "gelu"
    assert models["shared"].setting("no_scale_embedding")
    assert model.search_options()["length_penalty"] == "exponent"


def test_positions_begin_behind_those_of_the_padding(models):
    """Fairseq's first token has the position padding + 1."""
    table = models["pre_norm"].float32("src_embedding/position_embedding")
    assert table.shape == (40, 16)
    np.testing.assert_allclose(table[0, [0, 8]], [np.sin(2), np.cos(2)], rtol=1e-6)
    state = torch.load(FOLDER / "bart.pt", weights_only=False)["model"]
    np.testing.assert_array_equal(
        models["bart"].float32("trg_embedding/position_embedding"),
        state["decoder.embed_positions.weight"][2:].numpy(),
    )


# Refused ------------------------------------------------------------------------------------------


def changed(folder, change):
    """A checkpoint with something else in it."""
    state = torch.load(FOLDER / "pre_norm.pt", weights_only=False)
    change(state)
    torch.save(state, folder / "changed.pt")
    return folder / "changed.pt"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation_fn": "linear"}, "activation_fn: expected one of relu, .*, got 'linear'"),
        (
            {"adaptive_softmax_cutoff": "10,20"},
            "adaptive_softmax_cutoff: expected None, got '10,20'",
        ),
        ({"no_cross_attention": True}, "no_cross_attention: expected False, got True"),
        ({"decoder_normalize_before": False}, "decoder_normalize_before: expected the encoder's"),
        (
            {"decoder_attention_heads": 4},
            "decoder_attention_heads: expected the encoder's, 2, got 4",
        ),
        ({"encoder_layers": None}, "the option encoder_layers is missing"),
        ({"encoder_layers": 3}, r"the checkpoint does not have encoder\.layers\.2"),
        ({"encoder_layers": 1}, r"there is no field for encoder\.layers\.1"),
    ],
)
def test_options_that_are_not_carried(tmp_path, options, message):
    path = changed(tmp_path, lambda state: vars(state["args"]).update(options))
    with pytest.raises(convert.ConversionError, match=message):
        convert.read(path)


def test_nothing_of_a_file_is_executed(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    path = changed(tmp_path, lambda state: state.update(extra_state=Harmful()))
    with pytest.raises(convert.ConversionError, match=r"changed\.pt cannot be read by PyTorch"):
        convert.read(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ([1, 2], "with weights under 'model'"),
        ({"model": {}}, "options of the model under 'cfg' or 'args'"),
        ({"model": {}, "args": argparse.Namespace()}, "option encoder_normalize_before is missing"),
        ({"model": {"a": 3}, "args": argparse.Namespace()}, "is missing"),
    ],
)
def test_other_files_of_pytorch(tmp_path, state, message):
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(convert.ConversionError, match=message):
        convert.read(tmp_path / "other.pt")


def test_old_names_of_norms(tmp_path, models):
    """Older checkpoints number the norms of a layer."""
    numbers = {"self_attn_layer_norm": 0, "encoder_attn_layer_norm": 1}

    def renamed(name):
        for norm, number in numbers.items():
            name = name.replace(f".{norm}.", f".layer_norms.{number}.")
        last = 2 if name.startswith("decoder") else 1
        return name.replace(".final_layer_norm.", f".layer_norms.{last}.")

    def rename(state):
        state["model"] = {renamed(name): weight for name, weight in state["model"].items()}

    model = convert.read(changed(tmp_path, rename))
    for name in model.shapes():
        np.testing.assert_array_equal(model.float32(name), models["pre_norm"].float32(name))


def test_the_command_line(tmp_path):
    from tf_ls.command_line.main import main

    assert main(["convert", str(FOLDER / "pre_norm.pt"), str(tmp_path / "model.hdf5")]) == 0
    assert files.read(tmp_path / "model.hdf5", "transformer").layers("encoder_stack") == 2
