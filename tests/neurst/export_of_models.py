"""Models of NeurST's, exported and loaded, against its own beam search on stock layers.

test_export_of_models.py runs this file.
"""

# ruff: noqa: RUF001  quotes and digits that look like others

import neurst  # noqa: F401  before TensorFlow, so that Keras 2 is chosen
import numpy as np
import pytest
import tensorflow as tf
import tiny_task
import untrained_folder
from neurst.data.data_pipelines.text_data_pipeline import TextDataPipeline
from neurst.layers.search.beam_search import BeamSearch
from neurst.utils.configurable import ModelConfigs
from untrained_folder import CORPUS, write_pieces

import tf_ls
import tf_ls.inference as lsi
from tf_ls import export
from tf_ls.command_line.main import main
from tf_ls.export.int8 import in_int8
from tf_ls.neurst import model_folder
from tf_ls.neurst.eligibility import stock_only
from tf_ls.neurst.sentencepiece_text import normalize

BEAM = {"beam_size": 3, "max_length": 12}


def write_model(folder, source, target, model_class="Transformer", begin="bos", **params):
    task_params = {
        "src_data_pipeline.class": "TextDataPipeline",
        "src_data_pipeline.params": source,
        "trg_data_pipeline.class": "TextDataPipeline",
        "trg_data_pipeline.params": target,
        "target_begin_of_sentence": begin,
    }
    return untrained_folder.write_model(folder, model_class, "Translation", task_params, **params)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A model of words: its folder, its task, itself."""
    folder = tmp_path_factory.mktemp("words")
    corpus = tiny_task.write_tiny_corpus(folder / "corpus")
    pipelines = [
        {"vocab_path": str(path)} for path in (corpus.source_vocabulary, corpus.target_vocabulary)
    ]
    return folder, *write_model(folder, *pipelines)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """A model of SentencePiece's pieces: its folder, its task, itself."""
    folder = tmp_path_factory.mktemp("pieces")
    pipeline = write_pieces(folder)
    return folder, *write_model(folder, pipeline, {**pipeline, "language": "de"})


def stock_hypotheses(task, model, sentences):
    """The best hypothesis of each sentence of ids, by NeurST's search, one sentence at a time."""
    args = {flag.name: flag.default for flag in BeamSearch.class_or_method_args()}
    args.update(beam_size=3, length_penalty=0.6, maximum_decode_length=12)
    search = BeamSearch(args)
    search.set_model(model)
    found = []
    with stock_only("it is what is compared with"):
        for sentence in sentences:
            batch = {"feature": tf.constant([sentence], tf.int64)}
            [hypothesis] = search(task.example_to_input(batch, "infer"))[0].numpy().tolist()
            found.append(up_to_eos(hypothesis, task._trg_data_pipeline.meta["eos_id"]))
    return found


def up_to_eos(tokens, eos):
    return tokens[: tokens.index(eos)] if eos in tokens else tokens


def sentences_of(task, count=6):
    eos = task._src_data_pipeline.meta["eos_id"]
    rng = np.random.default_rng(2)
    return [[*rng.integers(0, eos - 2, n).tolist(), eos] for n in (5, 1, 0, 7, 3, 2)[:count]]


def test_hypotheses_are_those_of_neursts_search(words, tmp_path):
    folder, task, model = words
    sentences = sentences_of(task)
    wanted = stock_hypotheses(task, model, sentences)
    eos = task._trg_data_pipeline.meta["eos_id"]

    direct = lsi.Transformer(folder, 4, options=BEAM).infer(sentences)
    assert [up_to_eos(row[0].tolist(), eos) for row in direct.tokens] == wanted

    export.save(folder, tmp_path / "exported", options=BEAM)
    loaded = lsi.Transformer(tmp_path / "exported", 4)
    assert loaded.options["forbidden_tokens"] == (task._trg_data_pipeline.meta["unk_id"],)
    again = loaded.infer(sentences)
    np.testing.assert_array_equal(again.tokens, direct.tokens)
    np.testing.assert_allclose(again.scores, direct.scores, rtol=1e-6)


def test_padding_is_what_follows_the_first_eos(words):
    folder = words[0]
    described = model_folder.load(str(folder))
    eos = described.padding_id
    padding = described.padding(tf.constant([[1, 2, eos, eos], [1, 2, 3, eos], [1, 2, 3, 4]]))
    assert padding.numpy().astype(int).tolist() == [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    for bad in ([1, 2], [], [eos, eos], [1, eos, 2, eos]):
        with pytest.raises(ValueError, match=f"must end with {eos}, and have it only there"):
            lsi.Transformer(folder, 4).infer([bad])


def test_text_of_other_tokenizers_is_not_exported(words, tmp_path):
    folder = words[0]
    export.save(folder, tmp_path / "exported")
    signatures = tf.saved_model.load(str(tmp_path / "exported")).signatures
    assert "translate" not in signatures
    assert "serving_default" in signatures
    assert model_folder.load(str(folder)).no_text_because == "it has no subwords"


def test_translate_is_neursts_text_to_text(pieces, tmp_path):
    folder, task, model = pieces
    export.save(folder, tmp_path / "exported", options=BEAM)
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    sentences = [
        *CORPUS,
        "“Smart” quotes… and unknown 語 letters",
        "  spaces\u00a0 ",
    ]
    found = loaded.signatures["translate"](sentences=tf.constant(sentences))["translations"]
    encoded = [task._src_data_pipeline.encode(sentence) for sentence in sentences]
    hypotheses = stock_hypotheses(task, model, encoded)
    assert [text.decode() for text in found.numpy()] == [
        task._trg_data_pipeline.decode(hypothesis) if hypothesis else ""
        for hypothesis in hypotheses
    ]


def test_a_pipeline_translates_a_folder_and_what_was_exported(pieces, tmp_path):
    folder, task, model = pieces
    export.save(folder, tmp_path / "exported")
    encoded = [task._src_data_pipeline.encode(sentence) for sentence in CORPUS]
    hypotheses = stock_hypotheses(task, model, encoded)
    wanted = [task._trg_data_pipeline.decode(hypothesis) for hypothesis in hypotheses]
    for path in (folder, tmp_path / "exported"):
        found = tf_ls.pipeline("translation", path, options=BEAM)(CORPUS)
        assert [one["translation_text"] for one in found] == wanted


def test_a_pipeline_of_words_needs_a_tokenizer(words):
    with pytest.raises(FileNotFoundError, match="has no tokenizer"):
        tf_ls.pipeline("translation", words[0])


def test_a_portable_form(pieces, tmp_path, capsys, caplog):
    folder, task, _ = pieces
    exported = str(tmp_path / "exported")
    options = [f"--option={name}={value}" for name, value in BEAM.items()]
    assert main(["export", str(folder), exported, "--portable", *options]) == 0
    assert capsys.readouterr().out == f"{exported}: written, float32, portable\n"
    assert "no signature translate: TensorFlow itself has no operation for" in caplog.text
    portable, direct = lsi.Transformer(exported, 4), lsi.Transformer(folder, 4, options=BEAM)
    assert portable.options == direct.options
    (tokens, scores), wanted = (model.infer(sentences_of(task)) for model in (portable, direct))
    np.testing.assert_array_equal(tokens, wanted.tokens)
    np.testing.assert_allclose(scores, wanted.scores, rtol=1e-5)
    assert not {"translate", "translate_with_options"} & set(
        tf.saved_model.load(exported).signatures
    )


@pytest.mark.parametrize("language", ["en", "de", "cs", "ru", "zh"])
def test_normalize_is_neursts(words, language):
    sentences = [
        *CORPUS,
        "a\r\n b\t c",
        "( a ) , b ( c ). d (e)f",
        "50 % ; x : y ٣ % ５ %",
        "`a' ''b'' „c“ ”d” e–f—g …",
        "don‘t don’t ‘t’ ‚u‚ ´v´ ´´",
        "\u00a0«\u00a0a\u00a0»\u00a0 «b» «\u00a0c\u00a0»",
        "5\u00a0% nº\u00a05 a\u00a0: 5\u00a0ºC 5\u00a0cm a\u00a0? a\u00a0! a\u00a0; a,\u00a0b",
        'He said "yes", "no". "Never"... and "then," he "left." now',
        'er sagte "ja," "nein." "nie..." <x> und "gut." <y>',
        "1\u00a0000\u00a0000 1 000",
        "it ' s they' ve I' m don' t we' re here",
        "\u3000 wide \u2003 spaces\u2028 \x1f",
        "",
        "   ",
        "語。、「日本」",
    ]
    pipeline = TextDataPipeline(vocab_path=["a"], language=language)
    found = normalize(tf.constant(sentences), language).numpy()
    for sentence, text in zip(sentences, found):
        assert text.decode() == pipeline.text_pre_normalize(language, sentence), sentence


def test_folders_that_cannot_be_exported(words, tmp_path):
    folder, _, _ = words
    configs = ModelConfigs.load(str(folder))
    ModelConfigs.dump(configs, str(tmp_path))
    with pytest.raises(ValueError, match="there is no checkpoint"):
        export.save(tmp_path, tmp_path / "exported")
    more = {**configs, "model.params": {**configs["model.params"], "encoder.num_layers": 4}}
    checkpoint = tf.train.latest_checkpoint(str(folder))
    for suffix in (".index", ".data-00000-of-00001"):
        tf.io.gfile.copy(checkpoint + suffix, str(tmp_path / "ckpt-1") + suffix)
    tf.io.gfile.copy(str(folder / "checkpoint"), str(tmp_path / "checkpoint"))
    ModelConfigs.dump(more, str(tmp_path))
    with pytest.raises(ValueError, match="the checkpoint does not have TransformerEncoder/layer_2"):
        export.save(tmp_path, tmp_path / "exported")
    with pytest.raises(ValueError, match="start and sentencepiece are not for models on disk"):
        export.save(folder, tmp_path / "exported", start=3)


def test_half_precision(words, tmp_path):
    folder, task, _ = words
    sentences = sentences_of(task)
    exact = lsi.Transformer(folder, 8, options=BEAM).infer(sentences)
    half = lsi.Transformer(folder, 8, options=BEAM, precision="bfloat16").infer(sentences)
    np.testing.assert_allclose(half.scores[:, 0], exact.scores[:, 0], rtol=0.1)


# From the command line ---------------------------------------------------------------------------


def test_export_and_translate_from_the_command_line(pieces, tmp_path, capsys):
    folder, task, model = pieces
    exported = str(tmp_path / "exported")
    options = ["--option", "beam_size=3", "--option=max_length=12", "--option=forbidden_tokens="]
    assert main(["export", str(folder), exported, *options]) == 0
    assert capsys.readouterr().out == f"{exported}: written, float32\n"
    assert lsi.Transformer(exported, 1).options["forbidden_tokens"] == ()
    (tmp_path / "text").write_text("\n".join(CORPUS))
    unknown = task._trg_data_pipeline.meta["unk_id"]
    arguments = ["translate", exported, str(tmp_path / "text")]
    assert main([*arguments, f"--option=forbidden_tokens={unknown}"]) == 0
    encoded = [task._src_data_pipeline.encode(sentence) for sentence in CORPUS]
    hypotheses = stock_hypotheses(task, model, encoded)
    wanted = [task._trg_data_pipeline.decode(hypothesis) for hypothesis in hypotheses]
    assert (tmp_path / "text.translated").read_text().splitlines() == wanted


def test_int8_from_the_command_line(pieces, tmp_path, capsys, caplog):
    folder, _, _ = pieces
    exported, text = str(tmp_path / "exported"), tmp_path / "text"
    text.write_text("\n".join(CORPUS))
    options = ["--precision=int8", f"--calibration={text}", "--option=max_length=12"]
    assert main(["export", str(folder), exported, *options]) == 0
    assert capsys.readouterr().out == f"{exported}: written, int8\n"
    assert "matrices are in int8; mean change of a token's log-probability: at most" in caplog.text
    assert main(["translate", exported, str(text)]) == 0
    assert len((tmp_path / "text.translated").read_text().splitlines()) == len(CORPUS)


def test_calibration_by_text_that_only_neurst_tokenizes(words, tmp_path):
    folder, task, _ = words
    described = model_folder.load(str(folder))
    pipeline = task._src_data_pipeline
    text = [pipeline.decode(ids) for ids in sentences_of(task)]
    reports = [
        in_int8(described, tf.float32, sentences)[1]
        for sentences in (text, [pipeline.encode(sentence) for sentence in text])
    ]
    assert reports[0] == reports[1]
    assert reports[0].loss > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["WORDS", "exported", "--precision=int8", "--calibration=no"], "No such file"),
        (["WORDS", "exported", "--calibration=/dev/null"], "calibration is for int8"),
        (
            ["WORDS", "exported", "--portable", "--precision=int8"],
            "a portable model cannot be int8",
        ),
        (["nowhere", "exported"], "nowhere does not exist"),
        (["WORDS", "."], ". is there already"),
        (["WORDS", "exported", "--option=beam_size=0"], "beam_size: expected 1 to 64, got 0"),
        (["WORDS", "exported", "--option=beam=0"], "unknown option beam;"),
    ],
    ids=str,
)
def test_exports_that_do_not_work(words, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    arguments = [str(words[0]) if argument == "WORDS" else argument for argument in arguments]
    assert main(["export", *arguments]) == 1
    assert message in capsys.readouterr().err
