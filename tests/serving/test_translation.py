"""Requests as sentences that share batches: the answers are those of one sentence at a time."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import tensorflow as tf
from models_to_serve import EOS, PADDING, VARIETY, Unbatched, build, export, sentences

from tf_ls.inference.cancellation import Cancellation, Cancelled
from tf_ls.serving.errors import ServingError
from tf_ls.serving.limits import Limits
from tf_ls.serving.loaded_model import LoadedModel
from tf_ls.serving.translation import TranslationModel


@pytest.fixture(scope="module")
def model(models):
    return TranslationModel.of(LoadedModel(models / "ids"))


@pytest.fixture(scope="module")
def unbatched(models):
    return Unbatched(models / "ids")


def work(model, rows, signature="serving_with_options", limits=Limits(), **options):  # noqa: B008
    rows = [np.array(row, np.int64) for row in rows]
    values = {name: np.array(value) for name, value in options.items()}
    if "method" in options:
        values["method"] = np.array(options["method"].encode(), object)
    return model.work(signature, {"source": rows, **values}, limits)


def endless(model):
    """What would take an hour."""
    options = {"forbidden_tokens": [EOS], "max_length": 200_000, "max_extra_length": -1}
    return work(model, [[1]], limits=Limits(length=10**6, work=10**7), **options)


def run(*works):
    """The results of each, all in one batch."""
    [group] = {work.group for work in works}
    payloads = [item.payload for work in works for item in work.items]
    results = iter(group.run(payloads, Cancellation()))
    return [[next(results) for _ in work.items] for work in works]


def assert_is(outputs, index, wanted):
    """That an answer's sentence is what comes for it alone, which has its own padding."""
    tokens = outputs["tokens"][index]
    width = wanted["tokens"].shape[1]
    np.testing.assert_array_equal(tokens[:, :width], wanted["tokens"])
    assert (tokens[:, width:] == EOS).all()
    np.testing.assert_array_equal(outputs["lengths"][index], wanted["lengths"])
    np.testing.assert_allclose(outputs["scores"][index], wanted["scores"], rtol=1e-5)


@pytest.mark.parametrize("options", VARIETY[:-1], ids=str)
def test_a_batch_of_several_requests(model, unbatched, options):
    requests = [sentences(count, seed) for seed, count in enumerate([3, 1, 6])]
    works = [work(model, rows, **options) for rows in requests]
    for rows, results in zip(requests, run(*works)):
        outputs = model.outputs("serving_with_options", results)
        for index, row in enumerate(rows):
            assert_is(outputs, index, unbatched.generate(row, **options))
        assert outputs["tokens"].shape[2] == outputs["lengths"].max()


def test_samples_depend_on_their_row_so_that_they_stay_together(model, unbatched):
    options = VARIETY[-1]
    rows = sentences(4, 0)
    one, other = work(model, rows, **options), work(model, rows, **options)
    assert one.group != other.group
    assert len(one.items) == 1
    assert (one.items[0].sentences, one.items[0].length) == (4, max(map(len, rows)))
    outputs = model.outputs("serving_with_options", *run(one))
    source = np.full([4, max(map(len, rows))], PADDING)
    for place, row in zip(source, rows):
        place[: len(row)] = row
    defaults = {k: v for k, v in unbatched._defaults.items() if k not in options}
    signature = unbatched._model.signatures["serving_with_options"]
    given = {k: tf.convert_to_tensor(v, unbatched._defaults[k].dtype) for k, v in options.items()}
    wanted = signature(source=tf.constant(source, tf.int64), **defaults, **given)
    np.testing.assert_array_equal(outputs["tokens"], wanted["tokens"])


def test_what_shares_a_batch(model):
    rows = sentences(1, 0)
    plain = work(model, rows).group
    assert plain == work(model, rows, "serving_default").group
    assert plain == work(model, rows, beam_size=3).group
    assert plain != work(model, rows, beam_size=2).group
    assert plain != work(model, rows, forbidden_tokens=np.array([3])).group


@pytest.mark.parametrize("rows", [[[1, 2, 0, 0]], [[0, 1, 0]], [[1, 0, 2]], [[0, 0]], [[]]])
def test_padding_may_be_anywhere(model, unbatched, rows):
    neighbour = work(model, [[3] * 9])
    results, _ = run(work(model, rows), neighbour)
    outputs = model.outputs("serving_default", results)
    assert_is(outputs, 0, unbatched.generate(tuple(rows[0])))


def test_text(models):
    model, unbatched = (kind(models / "text") for kind in (LoadedModel, Unbatched))
    model = TranslationModel.of(model)
    texts = ["Padding is removed.", "layers", "", "one operation a layer, and no more"]
    inputs = {"sentences": np.array([text.encode() for text in texts], object)}
    translating = model.work("translate", inputs, Limits())
    generating = work(model, [[5, 6, 7]], "serving_default")
    found, other = run(translating, generating)
    outputs = model.outputs("translate", found)
    for text, translation, score in zip(texts, outputs["translations"], outputs["scores"]):
        wanted = unbatched.translate(text)
        assert translation == wanted["translations"]
        np.testing.assert_allclose(score, wanted["scores"], rtol=1e-5)
    assert_is(model.outputs("serving_default", other), 0, unbatched.generate((5, 6, 7)))


def test_sentences_that_end_with_their_padding(tmp_path):
    """As NeurST's do: what ends where depends on the batch unless the end is there."""
    options = {"eos": EOS, "beam_size": 2, "max_length": 6}
    network = build()
    export.save(network, tmp_path / "model", options=options, start=7)
    model = TranslationModel.of(LoadedModel(tmp_path / "model"))
    model._padding_is_eos = True
    assert [item.length for item in work(model, [[3, 0], [3, 4, 0, 0], [0]]).items] == [2, 3, 1]
    with pytest.raises(ServingError, match="sentence 1 must end with 0, the end of a sentence"):
        work(model, [[1, 0], [1, 2]])


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([[1], [1, 13]], {}, "sentence 1 has 13 at 1, which is not in the vocabulary of 13"),
        ([[-1]], {}, "sentence 0 has -1 at 0"),
        ([[1]], {"beam_size": 0}, "beam_size: expected 1 to 64, got 0"),
        ([[1]], {"beam_size": [1, 2]}, r"beam_size must be a scalar, got the shape \[2\]"),
        ([[1]], {"forbidden_tokens": 1}, "forbidden_tokens must be a vector"),
        ([[1]], {"forbidden_tokens": [11]}, "forbidden_tokens has 11, which is not in the voc"),
        ([[1]], {"method": "guessing"}, "method: expected one of"),
        ([[1]], {"temperature": float("nan")}, "temperature: expected more than 0, got nan"),
        ([[1]], {"beam_size": 17}, "beam_size: this server takes at most 16, got 17"),
    ],
    ids=str,
)
def test_bad_requests(model, rows, options, message):
    with pytest.raises(ServingError, match=message) as error:
        work(model, rows, **options)
    assert error.value.code == "INVALID_ARGUMENT"


def test_cancellation(model):
    cancellation = Cancellation()
    timer = threading.Timer(0.2, cancellation.cancel)
    timer.start()
    with pytest.raises(tf.errors.CancelledError):
        endless(model).group.run([endless(model).items[0].payload], cancellation)
    timer.join()
    with pytest.raises(Cancelled):
        endless(model).group.run([endless(model).items[0].payload], cancellation)


def test_cancelling_one_call_leaves_those_of_other_threads_alone(model, unbatched):
    group, [item] = endless(model).group, endless(model).items
    cancellation = Cancellation()
    ended = []

    def generate():
        with pytest.raises(tf.errors.CancelledError):
            group.run([item.payload], cancellation)
        ended.append(True)

    thread = threading.Thread(target=generate)
    thread.start()
    for row in sentences(20, 5):
        other = Cancellation()
        results = work(model, [row]).group.run([work(model, [row]).items[0].payload], other)
        assert_is(model.outputs("serving_default", results), 0, unbatched.generate(row))
        other.cancel()
    assert not ended
    cancellation.cancel()
    thread.join(30)
    assert ended


def test_a_model_of_somebody_else(models):
    assert TranslationModel.of(LoadedModel(models / "arithmetic" / "3")) is None
