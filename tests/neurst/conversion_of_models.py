"""Models of NeurST's as model files and back, against its own stock layers.

test_conversion_of_models.py runs this file.
"""

import sys
from pathlib import Path

import neurst  # noqa: F401  before TensorFlow, so that Keras 2 is chosen
import numpy as np
import pytest
import tensorflow as tf
import tiny_task
from neurst.models import build_model
from neurst.models.bert import Bert
from neurst.utils.checkpoints import NameBasedCheckpointManager, restore_checkpoint_if_possible
from neurst.utils.configurable import ModelConfigs
from neurst.utils.hparams_sets import get_hyper_parameters
from untrained_folder import write_model

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "convert"))
import numpy_models

import tf_ls.inference as lsi
from tf_ls import convert, files
from tf_ls.neurst.eligibility import stock_only

SHARED = {"modality.share_source_target_embedding": True}
TRANSFORMERS = {
    "pre_norm": {},
    "post_norm": {"encoder.post_normalize": True, "decoder.post_normalize": True},
    "own_output": {"modality.share_embedding_and_softmax_weights": False},
    "learned_positions": {"modality.timing": {"timing": "emb", "max_positions": 40}},
    "one_table": SHARED,
    "one_table_and_own_output": {**SHARED, "modality.share_embedding_and_softmax_weights": False},
    "gelu": {"encoder.ffn_activation": "gelu", "decoder.ffn_activation": "gelu"},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tiny_task.write_tiny_corpus(tmp_path_factory.mktemp("corpus"))


def transformer(folder, corpus, params):
    pipelines = [{"vocab_path": str(corpus.source_vocabulary)}]
    pipelines.append({"vocab_path": str(corpus.target_vocabulary)})
    task_params = {}
    for side, pipeline in zip(("src", "trg"), pipelines):
        task_params[f"{side}_data_pipeline.class"] = "TextDataPipeline"
        task_params[f"{side}_data_pipeline.params"] = pipeline
    return write_model(folder, "Transformer", "Translation", task_params, **params)


def ids(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, tiny_task.VOCABULARY_SIZE - 3, shape)


def close(got, wanted):
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("params", TRANSFORMERS.values(), ids=TRANSFORMERS)
def test_transformer(tmp_path, corpus, params):
    """Logits, hypotheses token for token, and back: NeurST loads it and has its variables again."""
    task, stock = transformer(tmp_path, corpus, params)
    model = convert.read(tmp_path, "transformer")
    source, target = ids(3, 6), ids(3, 5, seed=1)
    with stock_only("it is what is compared with"):
        inputs = {"src": source, "trg_input": target, "src_padding": np.zeros([3, 6], np.float32)}
        logits = stock({k: tf.constant(v) for k, v in inputs.items()}, is_training=False).numpy()
    for i in range(3):
        close(numpy_models.transformer_logits(model, source[i], target[i]), logits[i])
    eos = task._src_data_pipeline.meta["eos_id"]
    sentences = [[*ids(n, seed=n), eos] for n in (5, 2, 1, 7)]
    options = {"max_length": 12}
    wanted = lsi.Transformer(tmp_path, 4, options=options).infer(sentences)
    path = files.write(model, tmp_path / "model.pb")
    found = lsi.Transformer(path, 4, options=options).infer(sentences)
    np.testing.assert_array_equal(found.tokens, wanted.tokens)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    metas = [p.meta for p in (task._src_data_pipeline, task._trg_data_pipeline)]
    same_variables(written_back(model, tmp_path / "back", *metas), stock)


def written_back(model, folder, *metas):
    """What NeurST makes of a folder that was written."""
    convert.write(model, folder, to="neurst")
    again = build_model(ModelConfigs.load(str(folder)), *metas, name="again")
    assert restore_checkpoint_if_possible(again, str(folder))
    return again


def same_variables(got, wanted):
    def by_name(model):
        return {v.name.split("/", 1)[1]: v.numpy() for v in model.weights}

    got, wanted = by_name(got), by_name(wanted)
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-6, atol=1e-7, err_msg=name)


def test_gpt2(tmp_path, corpus):
    pipeline = {"vocab_path": str(corpus.source_vocabulary)}
    task_params = {"data_pipeline.class": "TextDataPipeline", "data_pipeline.params": pipeline}
    task, stock = write_model(tmp_path / "gpt2", "GPT2", "LanguageModel", task_params)
    model = convert.read(tmp_path / "gpt2", "gpt")
    assert model.setting("eos_id") == task._data_pipeline.meta["eos_id"]
    prompt = ids(1, 7)
    with stock_only("it is what is compared with"):
        logits = stock({"trg_input": tf.constant(prompt)}, is_training=False).numpy()[0]
    table = model.float32("src_embedding/token_embedding")
    x = table[prompt[0]] + model.float32("src_embedding/position_embedding")[:7]
    x = numpy_models.encoder_stack(model, x, pre_norm=True, causal=True)
    close(numpy_models.norm(model, "src_embedding", x) @ table.T, logits)
    same_variables(written_back(model, tmp_path / "back", task._data_pipeline.meta), stock)
    with pytest.raises(ValueError, match="back: it has no task, whose vocabularies"):
        lsi.Gpt(tmp_path / "back", 1)


def test_bert(tmp_path):
    configs = get_hyper_parameters("bert_toy")
    tf.keras.utils.set_random_seed(1)
    folder = tmp_path / "bert"
    ModelConfigs.dump(configs, str(folder))
    args = {flag.name: flag.default for flag in Bert.class_or_method_args()}
    stock = Bert.new({**args, **configs["model.params"]}, {"vocab_size": 30}, name="trained")
    for variable in stock.trainable_variables:
        variable.assign_add(tf.random.normal(variable.shape, stddev=0.3))
    NameBasedCheckpointManager(stock, str(folder)).save(1)
    model = convert.read(folder, "bert")
    tokens, types = 1 + ids(1, 6), np.array([[0, 0, 0, 1, 1, 1]])
    inputs = {"tokens": tokens, "tokens_type": types, "padding": np.zeros([1, 6], np.float32)}
    with stock_only("it is what is compared with"):
        wanted = stock({k: tf.constant(v) for k, v in inputs.items()}, is_training=False)
    hidden = numpy_models.bert(model, tokens[0], types[0])
    close(hidden, wanted["encoder_outputs"][0])
    close(np.tanh(numpy_models.dense(model, "pooler", hidden[0])), wanted["pooled_output"][0])
    direct = lsi.Bert(folder, 2)
    close(direct.infer(tokens, types), wanted["encoder_outputs"])
    close(direct.pooled(tokens, types), wanted["pooled_output"])
    with pytest.raises(lsi.UnfitModel, match="has a bert, not a transformer"):
        lsi.Transformer(folder, 2)
    same_variables(written_back(model, tmp_path / "back", {"vocab_size": 30}), stock)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"modality.timing": None}, "modality.target.timing|modality.source.timing"),
        ({"encoder.attention_monotonic": True}, "attention_monotonic: expected False, got True"),
        ({"decoder.num_attention_heads": 4}, "decoder.num_attention_heads: expected the encoder's"),
    ],
)
def test_what_is_not_carried(tmp_path, corpus, params, message):
    transformer(tmp_path, corpus, params)
    with pytest.raises(convert.ConversionError, match=message):
        convert.read(tmp_path)


def test_other_models(tmp_path):
    (tmp_path / "model_configs.yml").write_text("model.class: SpeechTransformer\nmodel.params: {}")
    with pytest.raises(convert.ConversionError, match="expected one of Transformer, Bert, GPT2"):
        convert.read(tmp_path)
    (tmp_path / "model_configs.yml").write_text("!!python/object/apply:os.getcwd []")
    with pytest.raises(convert.ConversionError, match="cannot be read"):
        convert.read(tmp_path)
