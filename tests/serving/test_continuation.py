"""Requests as prompts that share batches: what comes is what comes for one prompt at a time."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from language_models import ENDLESS, OPTIONS, PROMPTS
from small_decoder import EOS, START, build, continuations

from tf_ls import export
from tf_ls.inference.cancellation import Cancellation
from tf_ls.serving.continuation import ContinuationModel
from tf_ls.serving.errors import ServingError
from tf_ls.serving.limits import Limits
from tf_ls.serving.loaded_model import LoadedModel
from tf_ls.serving.token_events import Told


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "exported"
    export.save(build(), path, options=OPTIONS, start=START)
    return path


@pytest.fixture(scope="module")
def model(path):
    model = ContinuationModel.of(LoadedModel(path))
    model.warm_up()
    return model


def inputs_of(prompts, options):
    rows = [np.array(prompt, np.int64) for prompt in prompts]
    values = {name: np.array(value) for name, value in options.items()}
    if "method" in options:
        values["method"] = np.array(options["method"].encode(), object)
    return {"prompt": rows, **values}


def work(model, prompts, limits=Limits(), **options):  # noqa: B008
    return model.work("serving_with_options", inputs_of(prompts, options), limits)


def streamed(model, prompts, told, limits=Limits(), **options):  # noqa: B008
    inputs = inputs_of(prompts, options)
    return model.streamed_work("serving_with_options", inputs, limits, told.extend)


def run(*works):
    """The results of each, all in one batch."""
    [group] = {work.group for work in works}
    payloads = [item.payload for work in works for item in work.items]
    results = iter(group.run(payloads, Cancellation()))
    return [[next(results) for _ in work.items] for work in works]


def assert_told(told, wanted):
    for i, ([tokens], [log_probs], _) in enumerate(wanted):
        of_prompt = [one for one in told if one.prompt == i and one.token >= 0]
        assert [one.token for one in of_prompt] == tokens
        assert [one.index for one in of_prompt] == list(range(len(tokens)))
        np.testing.assert_allclose(
            [one.log_prob for one in of_prompt], log_probs, rtol=1e-5, atol=1e-6
        )
    last = [(one.prompt, one.hypothesis) for one in told if one.is_last]
    assert sorted(last) == [(i, 0) for i in range(len(wanted))]


@pytest.mark.parametrize(
    "options", [{}, {"method": "beam_search", "num_hypotheses": 2}, {"max_extra_length": 2}]
)
def test_a_batch_of_several_requests(model, options):
    requests = [PROMPTS, [[4, 4, 4, 4, 4]], [[1], [3, 3]]]
    works = [work(model, prompts, **options) for prompts in requests]
    for prompts, results in zip(requests, run(*works)):
        outputs = model.outputs("serving_with_options", results)
        wanted = continuations(build(), {**OPTIONS, **options}, prompts)
        assert outputs["tokens"].shape[2] == outputs["lengths"].max()
        for i, (hypotheses, _, scores) in enumerate(wanted):
            for j, tokens in enumerate(hypotheses):
                length = outputs["lengths"][i, j]
                assert outputs["tokens"][i, j, :length].tolist() == tokens
                assert (outputs["tokens"][i, j, length:] == EOS).all()
            np.testing.assert_allclose(outputs["scores"][i], scores, rtol=1e-5)


def test_streamed_requests_share_batches_with_others(model):
    one, other = [], []
    plain = work(model, [[4, 4]])
    first, second = streamed(model, PROMPTS, one), streamed(model, [[9]], other)
    results = run(first.work, plain, second.work)
    assert_told(one, continuations(build(), OPTIONS, PROMPTS))
    assert_told(other, continuations(build(), OPTIONS, [[9]]))
    outputs = model.outputs("serving_default", results[1])
    [([tokens], _, _)] = continuations(build(), OPTIONS, [[4, 4]])
    assert outputs["tokens"][0, 0].tolist() == tokens
    for told, request in ((one, first), (other, second)):
        assert all(isinstance(event, Told) for event in told)
        assert all([request.assembly.add(event) or event.token < 0 for event in told])
        assert request.assembly.complete


def test_a_stopped_stream_has_told_what_came(model):
    told, cancellation = [], Cancellation()
    limits = Limits(length=10**6, work=10**7)

    def listen(events):
        told.extend(events)
        if len(told) > 10:
            cancellation.cancel()

    inputs = inputs_of([[1]], ENDLESS)
    request = model.streamed_work("serving_with_options", inputs, limits, listen)
    with pytest.raises(tf.errors.CancelledError):
        request.work.group.run([request.work.items[0].payload], cancellation)
    assert [event.index for event in told] == list(range(len(told)))
    assert not any(event.is_last for event in told)


def test_a_call_that_fails_ends_its_stream(model):
    """Were its stream not closed, this would wait for ever."""
    request = streamed(model, [[1]], [])
    [payload] = [item.payload for item in request.work.items]
    payload.rows[0][0] = 11  # what was checked has changed
    with pytest.raises(ServingError, match="prefix must be from 0 to 10"):
        request.work.group.run([payload], Cancellation())


def test_items_are_as_long_as_their_continuations_may_become(model):
    items = work(model, PROMPTS, max_extra_length=7).items
    assert [item.length for item in items] == [9, 11, 8, 7]
    [item] = work(model, PROMPTS, method="sampling").items
    assert (item.sentences, item.length) == (4, 40)
    assert work(model, PROMPTS, max_extra_length=7).tokens == 7


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([[11]], {}, "prompt 0 has 11 at 0, which is not in the vocabulary of 11"),
        ([[1], [-1]], {}, "prompt 1 has -1 at 0"),
        ([[EOS, 1]], {}, "prompt 0 has the end, 2, at 0, where it goes on"),
        ([[1] * 41], {}, "prompt 0 has 41 tokens, and with its continuation it may have 40"),
        ([[1]], {"max_length": 1025, "max_extra_length": -1}, "makes at most 1024"),
        ([[1]], {"forbidden_tokens": [11]}, "forbidden_tokens has 11, which is not in the vocab"),
    ],
    ids=str,
)
def test_bad_requests(model, prompts, options, message):
    with pytest.raises(ServingError, match=message) as error:
        work(model, prompts, **options)
    assert error.value.code == "INVALID_ARGUMENT"


def test_models_of_others(tmp_path, path):
    from models_to_serve import save_arithmetic

    save_arithmetic(tmp_path / "arithmetic")
    assert ContinuationModel.of(LoadedModel(tmp_path / "arithmetic")) is None
    loaded = LoadedModel(path)
    assert ContinuationModel.of(loaded) is not None
    with pytest.raises(ServingError, match='"stream" not found'):
        loaded.signature("stream")
