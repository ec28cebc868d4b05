"""Decoder-only models of NeurST's, exported and loaded, against its stock layers step by step.

test_export_of_language_models.py runs this file.
"""

import neurst  # noqa: F401  before TensorFlow, so that Keras 2 is chosen
import numpy as np
import pytest
import tensorflow as tf
import tiny_task
import untrained_folder
from untrained_folder import write_pieces

import tf_ls
import tf_ls.inference as lsi
from tf_ls import export
from tf_ls.command_line.main import main
from tf_ls.neurst.eligibility import stock_only
from tf_ls.testing.reference_search import Options, score, search

POSITIONS = 32


def write_model(folder, pipeline, begin="bos", **params):
    task_params = {
        "data_pipeline.class": "TextDataPipeline",
        "data_pipeline.params": pipeline,
        "begin_of_sentence": begin,
    }
    return untrained_folder.write_model(folder, "GPT2", "LanguageModel", task_params, **params)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A model of words: its folder, its task, itself."""
    folder = tmp_path_factory.mktemp("words")
    corpus = tiny_task.write_tiny_corpus(folder / "corpus")
    return folder, *write_model(folder, {"vocab_path": str(corpus.source_vocabulary)})


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """A model of SentencePiece's pieces: its folder, its task, itself."""
    folder = tmp_path_factory.mktemp("pieces")
    pipeline = write_pieces(folder)
    return folder, *write_model(folder, pipeline, share_embedding_and_softmax_weights=False)


def stock_continuations(task, model, prompts, begin="bos", **options):
    """What the reference search finds behind each prompt, with logits of NeurST's stock layers."""
    meta = task._data_pipeline.meta
    start = meta[f"{begin}_id"]

    def logits(prefixes):
        inputs = tf.constant([[start, *prefix] for prefix in prefixes], tf.int64)
        made = model({"trg_input": inputs}, is_training=False)[:, -1]
        return made.numpy().astype(np.float64), np.zeros([len(prefixes), 0])

    found = []
    with stock_only("it is what is compared with"):
        for prompt in prompts:
            own = Options(
                eos=meta["eos_id"],
                forbidden_tokens=(meta["unk_id"],),
                prefix=tuple(prompt),
                **{"max_length": POSITIONS, **options},
            )
            hypotheses = search(logits, own)
            found.append([(h.tokens[len(prompt) :], score(h, own)) for h in hypotheses])
    return found


def assert_same(outputs, wanted):
    tokens, lengths = outputs["tokens"].numpy(), outputs["lengths"].numpy()
    for i, hypotheses in enumerate(wanted):
        for j, (continuation, its_score) in enumerate(hypotheses):
            assert tokens[i, j, : lengths[i, j]].tolist() == list(continuation)
            np.testing.assert_allclose(outputs["scores"][i, j], its_score, rtol=1e-4)


def prompts_of(task):
    rng = np.random.default_rng(2)
    eos = task._data_pipeline.meta["eos_id"]
    return [rng.integers(0, eos - 2, n).tolist() for n in (5, 1, 0, 7)]


def padded(task, prompts):
    eos = task._data_pipeline.meta["eos_id"]
    longest = max(map(len, prompts))
    return tf.constant([[*p, *[eos] * (longest - len(p))] for p in prompts], tf.int64)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "greedy"},
        {"method": "beam_search", "beam_size": 3, "num_hypotheses": 2, "max_length": 12},
    ],
    ids=str,
)
def test_continuations_are_those_of_stock_layers(words, tmp_path, options):
    folder, task, model = words
    export.save(folder, tmp_path / "exported", options=options)
    signatures = tf.saved_model.load(str(tmp_path / "exported")).signatures
    prompts = prompts_of(task)
    outputs = signatures["serving_default"](prompt=padded(task, prompts))
    assert_same(outputs, stock_continuations(task, model, prompts, **options))
    defaults = signatures["default_options"]()
    assert defaults["max_length"] == options.get("max_length", POSITIONS)
    assert defaults["forbidden_tokens"].numpy().tolist() == [task._data_pipeline.meta["unk_id"]]
    assert "generate" not in signatures  # there are no subwords


def test_prompts_that_begin_with_eos(tmp_path):
    corpus = tiny_task.write_tiny_corpus(tmp_path / "corpus")
    folder = tmp_path / "model"
    folder.mkdir()
    task, model = write_model(folder, {"vocab_path": str(corpus.source_vocabulary)}, begin="eos")
    export.save(folder, tmp_path / "exported", options={"method": "greedy"})
    signatures = tf.saved_model.load(str(tmp_path / "exported")).signatures
    meta = task._data_pipeline.meta
    assert signatures["properties"]()["start"] == meta["eos_id"]
    prompts = prompts_of(task)
    wanted = stock_continuations(task, model, prompts, begin="eos", method="greedy")
    assert_same(signatures["serving_default"](prompt=padded(task, prompts)), wanted)


def test_text_to_text_from_the_command_line(pieces, tmp_path, capsys):
    folder, task, model = pieces
    exported = str(tmp_path / "exported")
    assert main(["export", str(folder), exported, "--option=method=greedy"]) == 0
    assert capsys.readouterr().out == f"{exported}: written, float32\n"
    loaded = tf.saved_model.load(exported)
    texts = ["The old house", "He has", "   An “old”  man "]
    outputs = loaded.signatures["generate"](prompts=tf.constant(texts))
    pipeline = task._data_pipeline
    prompts = [pipeline.encode(text)[:-1] for text in texts]
    wanted = stock_continuations(task, model, prompts, method="greedy")
    for prompt, [(tokens, _)], found in zip(prompts, wanted, outputs["continuations"].numpy()):
        kept = [token for token in tokens if token != pipeline.meta["eos_id"]]
        whole, before = (pipeline.decode(list(ids)) for ids in (prompt + kept, prompt))
        assert before + found.decode() == whole


def test_a_pipeline_continues_prompts_by_a_folder_and_what_was_exported(pieces, tmp_path):
    folder, task, model = pieces
    options = {"method": "greedy", "max_length": 12}
    export.save(folder, tmp_path / "exported")
    texts, pipeline = ["The old house", "He has"], task._data_pipeline
    prompts = [pipeline.encode(text)[:-1] for text in texts]
    continued = stock_continuations(task, model, prompts, **options)
    wanted = []
    for prompt, [(tokens, _)] in zip(prompts, continued):
        kept = [token for token in tokens if token != pipeline.meta["eos_id"]]
        wanted.append(pipeline.decode(prompt + kept))
    for path in (folder, tmp_path / "exported"):
        generate = tf_ls.pipeline("text-generation", path, options=options)
        assert [one["generated_text"] for [one] in generate(texts)] == wanted
        assert texts[0] + "".join(generate.stream(texts[0])) == wanted[0]


def test_what_cannot_be_exported(words, tmp_path, capsys):
    folder, _, _ = words
    assert main(["export", str(folder), str(tmp_path / "exported"), "--portable"]) == 1
    assert "no portable form of a model that does not translate" in capsys.readouterr().err
    with pytest.raises(ValueError, match="max_length must be at most 32, as many positions"):
        export.save(folder, tmp_path / "exported", options={"max_length": 33})
    with pytest.raises(ValueError, match="continues prompts: a model that translates was expected"):
        lsi.Transformer(folder, 1)
