"""A trained LSTransformer as a file: what fields its variables become."""

import h5py
import numpy as np
import pytest
from exported_transformer import export, exported
from small_transformer import HEADS, HIDDEN, SOURCE_WORDS, TARGET_WORDS, build, variables

from tf_ls import files
from tf_ls.testing import reference


@pytest.fixture(scope="module")
def weights():
    return files.state_dict(build())


@pytest.fixture(scope="module")
def model(weights):
    return exported(weights)


def test_state_dict():
    model = build()
    weights = files.state_dict(model)
    wanted = {name: variable.numpy() for name, variable in variables(model).items()}
    assert weights.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(weights[name], wanted[name])


def test_embeddings(model, weights):
    source, target = (
        next(w for n, w in weights.items() if n.startswith(side) and n.endswith("weights"))
        for side in ("input", "target")
    )
    for name, wanted in {
        "src_embedding/token_embedding": source * np.sqrt(HIDDEN),
        "trg_embedding/token_embedding": target.T * np.sqrt(HIDDEN),
        "src_embedding/position_embedding": reference.timing_signal(0, 30, HIDDEN),
        "trg_embedding/position_embedding": reference.timing_signal(0, 20, HIDDEN),
        "src_embedding/norm_scale": weights["TransformerEncoder/output_ln/gamma"],
        "trg_embedding/norm_bias": weights["TransformerDecoder/output_ln/beta"],
        "trg_embedding/shared_bias": next(w for n, w in weights.items() if n.endswith("d/bias")),
    }.items():
        np.testing.assert_allclose(model.float32(name), wanted, rtol=1e-6, atol=1e-6)
    assert model.shapes()["src_embedding/token_embedding"] == (SOURCE_WORDS, HIDDEN)
    assert model.shapes()["trg_embedding/token_embedding"] == (HIDDEN, TARGET_WORDS)


def test_positions_of_odd_sizes():
    np.testing.assert_allclose(
        files.lightseq_export.sinusoids(7, 13), reference.timing_signal(0, 7, 13), atol=1e-6
    )
    np.testing.assert_allclose(
        files.lightseq_export.sinusoids(2, 2), reference.timing_signal(0, 2, 2), atol=1e-6
    )


def test_layers(model, weights):
    attention = "TransformerEncoder/layer_1/self_attention_prepost_wrapper/self_attention"
    kernel = model.float32("encoder_stack/1/multihead_project_kernel_qkv")
    assert kernel.shape == (HIDDEN, 3, HIDDEN)
    queries, keys, values = np.split(weights[f"{attention}/qkv_transform/kernel"], 3, axis=1)
    for i, wanted in enumerate((queries, keys, values)):
        np.testing.assert_array_equal(kernel[:, i], wanted)
    memory = model.float32("trg_embedding/encode_output_project_kernel_kv")
    assert memory.shape == (HIDDEN, 2, 2, HIDDEN)
    for i in range(2):
        layer = f"TransformerDecoder/layer_{i}/encdec_attention_prepost_wrapper/encdec_attention"
        keys, values = np.split(weights[f"{layer}/kv_transform/kernel"], 2, axis=1)
        np.testing.assert_array_equal(memory[:, i, 0], keys)
        np.testing.assert_array_equal(memory[:, i, 1], values)
        np.testing.assert_array_equal(
            model.float32(f"decoder_stack/{i}/encdec_project_kernel_output"),
            weights[f"{layer}/output_transform/kernel"],
        )
    np.testing.assert_array_equal(
        model.float32("decoder_stack/1/ffn_second_kernel"),
        weights["TransformerDecoder/layer_1/ffn_prepost_wrapper/ffn/dense2/kernel"],
    )


def test_both_formats_have_the_same(model, weights, tmp_path):
    with h5py.File(tmp_path / "direct.hdf5", "w") as file:
        export(file, weights, save_pb=False)
    with h5py.File(tmp_path / "converted.hdf5", "w") as file:
        files.export_pb2hdf5(model, file)
    files.write(model, tmp_path / "model.pb")
    for name in ("direct.hdf5", "converted.hdf5", "model.pb"):
        read = files.read(tmp_path / name, "transformer")
        assert {k: v for k, v in read.settings.items() if v} == {
            k: np.float32(v) if isinstance(v, float) else v for k, v in model.settings.items() if v
        }
        assert read.shapes() == model.shapes()
        for field in model.shapes():
            np.testing.assert_array_equal(read.float32(field), model.float32(field))


def test_a_part_may_be_put_again(model, weights, tmp_path):
    with h5py.File(tmp_path / "twice.hdf5", "w") as file:
        for _ in range(2):
            export(file, weights, save_pb=False)
    assert files.read(tmp_path / "twice.hdf5", "transformer").shapes() == model.shapes()


# Refused ------------------------------------------------------------------------------------------


def test_files_of_the_other_format(weights, tmp_path):
    with h5py.File(tmp_path / "model.hdf5", "w") as file:
        with pytest.raises(
            TypeError, match=r'expected a tf_ls\.files\.Model\("transformer"\) with'
        ):
            export(file, weights, save_pb=True)
        with pytest.raises(TypeError, match=r"expected a h5py\.File with save_pb=False"):
            export(files.Model("transformer"), weights, save_pb=False)
        with pytest.raises(TypeError, match="expected a tf_ls"):
            export(files.Model("bert"), weights, save_pb=True)


def test_an_output_layer_of_its_own():
    weights = files.state_dict(build(share_embedding_and_softmax_weights=False))
    with pytest.raises(ValueError, match=r"softmax_linear/kernel.* is needed"):
        files.export_ls_embedding(files.Model("transformer"), weights, 9, HIDDEN, False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, w: files.export_ls_encoder(f, w, 8, 20), r"expected the shape \(8,\), got"),
        (lambda f, w: files.export_ls_encoder(f, w, HIDDEN, 8), r"\(12, 8\), got \(12, 20\)"),
        (
            lambda f, w: files.export_ls_encoder(f, {}, 8, 20),
            "variables TransformerEncoder/layer_0",
        ),
        (
            lambda f, w: files.export_ls_decoder(f, w, HIDDEN, 20, 3),
            "expected 3 layers of the decoder, got 2",
        ),
        (
            lambda f, w: files.export_ls_decoder(f, without(w, "/q_transform"), HIDDEN, 20, 2),
            "expected a variable TransformerDecoder/layer_0/.*q_transform/kernel, got",
        ),
        (
            lambda f, w: files.export_ls_embedding(f, w, 9, 8, True),
            r"the table of words: expected the shape \(None, 8\), got \(13, 12\)",
        ),
        (
            lambda f, w: files.export_ls_embedding(f, w, 0, HIDDEN, True),
            "max_length must be at least 1, got 0",
        ),
        (
            lambda f, w: files.export_ls_embedding(f, without(w, "input"), 9, HIDDEN, True),
            "expected a variable input_symbol_modality.* or shared_symbol.*, got",
        ),
        (
            lambda f, w: files.export_ls_config(f, HEADS, 0, 1, 2.5, 2, 2),
            "model_conf/trg_end_id: expected a 32-bit integer, got 2.5",
        ),
        (
            lambda f, w: files.export_ls_config(f, HEADS, 0, 1, 2, "2", 2),
            "model_conf/n_encoder_stack: expected a 32-bit integer, got '2'",
        ),
    ],
)
def test_what_does_not_fit(weights, call, message):
    with pytest.raises(ValueError, match=message):
        call(files.Model("transformer"), weights)


def without(weights, part):
    return {name: weight for name, weight in weights.items() if part not in name}
