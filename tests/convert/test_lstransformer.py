"""A trained LSTransformer, in both formats: what it computes in training, files compute as well."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from numpy_models import transformer_logits

import tf_ls.inference as lsi
from tf_ls import export, files, ops
from tf_ls.models import LSTransformer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
from small_transformer import HEADS, HIDDEN, INPUTS, SETTINGS, SOURCE_WORDS, TARGET_WORDS

PADDING, START, EOS = 0, 1, 2
SENTENCES = [[3, 5, 7], [4], [12, 11, 10, 9, 8], [6, 6]]
OPTIONS = {"beam_size": 3, "length_penalty": "lightseq", "max_length": 14}


@pytest.fixture(scope="module")
def trained():
    """A model that has learned, a little, to count how long its source is."""
    tf.keras.utils.set_random_seed(0)
    model = LSTransformer(**SETTINGS)
    rng = np.random.default_rng(0)
    source = rng.integers(3, SOURCE_WORDS, [64, 5])
    target = np.concatenate([source % 8 + 3, np.full([64, 1], EOS)], axis=1)
    shifted = np.concatenate([np.full([64, 1], START), target[:, :-1]], axis=1)
    optimizer = tf.keras.optimizers.Adam(3e-3)
    for _ in range(30):
        with tf.GradientTape() as tape:
            logits = model({"src": source, "trg_input": shifted}, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(target, logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    assert loss < 2.2  # log 11 = 2.4 before; dropout's seeds depend on what ran before
    return model


@pytest.fixture(scope="module", params=[".pb", ".hdf5"])
def path(request, trained, tmp_path_factory):
    """The model as a file, by LightSeq's functions."""
    weights = files.state_dict(trained)
    layers, ffn = SETTINGS["num_decoder_layer"], SETTINGS["intermediate_size"]
    file = files.Model("transformer")
    files.export_ls_config(file, HEADS, PADDING, START, EOS, layers, layers, beam_size=3)
    files.export_ls_embedding(file, weights, 30, HIDDEN, True)
    files.export_ls_embedding(file, weights, 14, HIDDEN, False)
    files.export_ls_encoder(file, weights, HIDDEN, ffn)
    files.export_ls_decoder(file, weights, HIDDEN, ffn, layers)
    return files.write(file, tmp_path_factory.mktemp("files") / f"model{request.param}")


def test_the_forward_of_training(trained, path):
    """The logits of the model's call, and those of what its file says."""
    logits = trained(INPUTS, training=False).numpy()
    model = files.read(path, "transformer")
    for source, target, wanted in zip(INPUTS["src"], INPUTS["trg_input"], logits):
        source, real = source[source != PADDING], target != PADDING
        got = transformer_logits(model, source, target[real])
        np.testing.assert_allclose(got, wanted[real], rtol=1e-4, atol=1e-4)


def test_inference_of_the_file(trained, path):
    """Hypotheses, token for token, and scores: as the model itself generates in training."""
    found = lsi.Transformer(path, 8).infer(SENTENCES)
    source = tf.ragged.constant(SENTENCES).to_tensor(PADDING)
    wanted = trained.generate(
        source, ops.SearchOptions(eos=EOS, num_hypotheses=3, **OPTIONS), START
    )
    np.testing.assert_array_equal(found.tokens, wanted.tokens)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)


def test_inference_of_a_saved_model(trained, path, tmp_path):
    """The other way out of the trainer gives the same as the file."""
    options = {**OPTIONS, "eos": EOS}
    export.save(trained, tmp_path / "saved", options=options, start=START)
    wanted = lsi.Transformer(tmp_path / "saved", 8).infer(SENTENCES)
    found = lsi.Transformer(path, 8).infer(SENTENCES)
    np.testing.assert_array_equal(found.tokens, wanted.tokens)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    assert found.tokens.max() < TARGET_WORDS
