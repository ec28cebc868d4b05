"""Streams of tokens, over HTTP from a server that runs."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time

import numpy as np
import pytest
import tensorflow as tf
from language_models import ENDLESS, OPTIONS, PROMPTS, events_of, save_language_models
from server_process import ServerProcess, eventually
from small_decoder import EOS, build, continuations


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return save_language_models(tmp_path_factory.mktemp("language") / "models")


@pytest.fixture(scope="module")
def server(models):
    flags = ["--max-length=1000000", "--max-work=4000000", "--queue-seconds=1000"]
    with ServerProcess(models, *flags) as process:
        yield process


def begin(server, content, model="ids", **headers):
    """The connection, and its response, of a request whose answer has begun."""
    connection = http.client.HTTPConnection(*server.rest.split(":"), timeout=60)
    connection.request("POST", f"/v1/models/{model}:stream", json.dumps(content), headers)
    return connection, connection.getresponse()


def streamed(server, content, model="ids"):
    """All events of a stream."""
    connection, response = begin(server, content, model)
    with contextlib.closing(connection):
        assert response.status == 200, response.read()
        assert response.headers["Content-Type"] == "text/event-stream"
        return list(events_of(response))


def of_ids(prompts, **options):
    return {"signature_name": "serving_with_options", "inputs": {"prompt": prompts, **options}}


def told_of(events):
    """The token events of each prompt and hypothesis, which are counted without a gap."""
    told = {}
    for name, event in events[:-1]:
        assert name == "token"
        tokens = told.setdefault((event["prompt"], event["hypothesis"]), [])
        assert event["index"] == len(tokens)
        tokens.append(event)
    return told


# What comes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"max_extra_length": 3}, {"repetition_penalty": 1.7}])
def test_tokens(server, changes):
    events = streamed(server, of_ids(PROMPTS, **changes))
    told = told_of(events)
    wanted = continuations(build(), {**OPTIONS, **changes}, PROMPTS)
    name, end = events[-1]
    assert name == "end"
    for i, ([tokens], [log_probs], _) in enumerate(wanted):
        found = told.get((i, 0), [])
        assert [event["token"] for event in found] == tokens
        np.testing.assert_allclose([e["log_prob"] for e in found], log_probs, rtol=1e-5, atol=1e-6)
        assert all("text" not in event for event in found)
        reason = "eos" if tokens[-1:] == [EOS] else "length"
        assert end["continuations"][i] == [{"length": len(tokens), "finish_reason": reason}]
    assert end["tokens"] == sum(len(tokens) for [tokens], *_ in wanted)


def test_samples_are_those_of_the_whole_answer(server):
    content = of_ids(PROMPTS, method="sampling", num_hypotheses=3, seed=5, top_k=6)
    told = told_of(streamed(server, content))
    status, answer = server.predict("ids", content)
    assert status == 200
    assert len(told) == 12
    for (i, j), events in told.items():
        length = answer["outputs"]["lengths"][i][j]
        assert [e["token"] for e in events] == answer["outputs"]["tokens"][i][j][:length]


def test_row_by_row(server):
    events = streamed(server, {"instances": [[1, 3], [9]]})
    assert told_of(events) == told_of(streamed(server, of_ids([[1, 3], [9]])))


def test_why_hypotheses_end(server):
    content = of_ids([[1, 3], [1, 3, 4]], max_length=3, forbidden_tokens=[EOS])
    [token, (_, end)] = streamed(server, content)
    assert token[1]["prompt"] == 0
    assert end["continuations"] == [
        [{"length": 1, "finish_reason": "length"}],
        [{"length": 0, "finish_reason": "length"}],
    ]
    everything = list(range(11))
    [(_, end)] = streamed(server, of_ids([[1]], forbidden_tokens=everything))
    assert end["continuations"] == [[{"length": 0, "finish_reason": "nothing_left"}]]


@pytest.mark.parametrize("prompts", [["The host's half", "", "naïve 語"], ["a weig"]])
def test_text(server, prompts):
    inputs = {"prompts": prompts, "method": "sampling", "num_hypotheses": 4}
    content = {"signature_name": "generate_with_options", "inputs": inputs}
    events = streamed(server, content, "text")
    status, answer = server.predict("text", content)
    assert status == 200
    end = events[-1][1]["continuations"]
    for (i, j), told in told_of(events).items():
        assert "".join(event["text"] for event in told) == end[i][j]["text"]
        if j == 0:
            assert end[i][j]["text"] == answer["outputs"]["continuations"][i]


def test_letters_come_whole(server):
    inputs = {"prompts": ["layers"] * 8, "method": "sampling", "temperature": 12.0}
    content = {"signature_name": "generate_with_options", "inputs": inputs}
    events = streamed(server, content, "text")
    pieces = [event["text"] for told in told_of(events).values() for event in told]
    assert sum(letter in "äöü" for piece in pieces for letter in piece) > 5
    assert "" in pieces  # half a letter


def test_many_streams_and_whole_answers_share_batches(server):
    """While the model is busy, requests of both kinds come; each gets its own tokens."""
    busy, response = begin(server, of_ids([[1]], **ENDLESS))
    next(events_of(response))
    batches = server.metric("tf_ls_batch_sentences_count")
    waiting = [http.client.HTTPConnection(*server.rest.split(":"), timeout=60) for _ in range(9)]
    for i, connection in enumerate(waiting):
        verb = "stream" if i % 3 else "predict"
        body = json.dumps(of_ids([PROMPTS[i % 4]]))
        connection.request("POST", f"/v1/models/ids:{verb}", body)
    eventually(lambda: server.metric("tf_ls_queue_sentences") == 9)
    response.close()
    busy.close()
    wanted = [tokens for [tokens], *_ in continuations(build(), OPTIONS, PROMPTS)]
    for i, connection in enumerate(waiting):
        with connection.getresponse() as answer:
            if i % 3:
                told = told_of(list(events_of(answer)))
                tokens = [event["token"] for event in told[0, 0]]
            else:
                outputs = json.load(answer)["outputs"]
                tokens = outputs["tokens"][0][0][: outputs["lengths"][0][0]]
        assert tokens == wanted[i % 4]
        connection.close()
    # The one that was stopped, and one for all nine.
    eventually(lambda: server.metric("tf_ls_batch_sentences_count") == batches + 2)


def test_metrics(server):
    def first_tokens():
        _, text = server.request("/metrics")
        [line] = [x for x in text.splitlines() if x.startswith(COUNT)]
        return float(line.rsplit(" ", 1)[1])

    COUNT = 'tf_ls_stage_seconds_count{stage="first_token"}'
    streamed(server, of_ids([[1, 3]]))
    before, tokens = first_tokens(), server.metric("tf_ls_tokens_total")
    _, end = streamed(server, of_ids([[1, 3], [9]]))[-1]
    eventually(lambda: server.metric("tf_ls_tokens_total") == tokens + 3 + end["tokens"])
    assert first_tokens() == before + 1


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (
            of_ids([[1]], method="beam_search"),
            400,
            "tokens of beam_search with a beam of 4 are not",
        ),
        (
            of_ids([[1]], method="beam_search", beam_size=1, early_stopping=True),
            400,
            "with a beam of 1 and early_stopping are not final",
        ),
        (of_ids([]), 400, "there is no prompt"),
        (of_ids([[11]]), 400, "prompt 0 has 11 at 0, which is not in the vocabulary of 11"),
        (of_ids([[1], [1, EOS, 1]]), 400, "prompt 1 has the end, 2, at 1, where it goes on"),
        (of_ids([[1] * 41]), 400, "prompt 0 has 41 tokens, and with its continuation it may have"),
        (of_ids([[1]], top_p=2.0), 400, "top_p: expected more than 0 and at most 1"),
        (of_ids([[1]], max_length=1_000_001, max_extra_length=-1), 400, "at most 1000000"),
        ({"signature_name": "properties", "inputs": {}}, 400, "properties cannot be streamed"),
        ({"signature_name": "stream", "inputs": {}}, 400, '"stream" not found in signature def'),
        ([], 400, "JSON Value: Is not object"),
    ],
    ids=str,
)
def test_bad_requests(server, content, status, message):
    found, answer = server.request("/v1/models/ids:stream", content)
    assert found == status
    assert message in answer["error"]


def test_no_such_model(server):
    for path in ("nothing", "ids/versions/3", "ids/labels/stable"):
        status, answer = server.request(f"/v1/models/{path}:stream", of_ids([[1]]))
        assert status == 404
        assert "error" in answer


def test_the_number_of_a_stream_is_nobodys_business(server):
    status, answer = server.predict("ids", {"signature_name": "stream", "inputs": {}})
    assert (status, "not found in signature def" in answer["error"]) == (400, True)
    _, answer = server.request("/v1/models/ids/metadata")
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert "stream" not in signatures
    assert "serving_default" in signatures


def test_prompts_are_continued_without_a_stream(server):
    status, answer = server.predict("ids", of_ids([]))
    assert (status, answer["outputs"]["tokens"]) == (200, [])
    status, answer = server.predict("ids", {"instances": PROMPTS})
    assert status == 200
    for ([tokens], _, scores), found in zip(
        continuations(build(), OPTIONS, PROMPTS), answer["predictions"]
    ):
        assert found["tokens"][0][: found["lengths"][0]] == tokens
        np.testing.assert_allclose(found["scores"], scores, rtol=1e-5)


# Giving up ---------------------------------------------------------------------------------------


def test_a_client_that_leaves_stops_what_runs(server):
    cancelled = server.metric("tf_ls_batches_cancelled_total")
    connection, response = begin(server, of_ids([[1]], **ENDLESS))
    events = events_of(response)
    assert [next(events)[1]["index"] for _ in range(5)] == list(range(5))
    assert server.metric("tf_ls_batches_running") == 1
    response.close()
    connection.close()
    eventually(lambda: server.metric("tf_ls_batches_cancelled_total") == cancelled + 1)
    eventually(lambda: server.metric("tf_ls_batches_running") == 0)
    eventually(lambda: any(line.get("code") == "CANCELLED" for line in server.logs))


def test_a_deadline_ends_a_stream_with_an_error(server):
    headers = {"X-Request-Timeout-Ms": "700"}
    started = time.monotonic()
    connection, response = begin(server, of_ids([[1]], **ENDLESS), **headers)
    *tokens, (name, error) = events_of(response)
    connection.close()
    assert time.monotonic() - started < 20
    assert len(tokens) > 5
    assert name == "error"
    assert error == {"error": "the deadline is over", "code": "DEADLINE_EXCEEDED"}
    eventually(lambda: server.metric("tf_ls_batches_running") == 0)


def test_a_deadline_before_the_first_token_is_a_status(server):
    busy, response = begin(server, of_ids([[1]], **ENDLESS))
    next(events_of(response))
    status, answer = server.request(
        "/v1/models/ids:stream", of_ids([[1]]), headers={"X-Request-Timeout-Ms": "100"}
    )
    assert (status, answer) == (504, {"error": "the deadline is over"})
    response.close()
    busy.close()
    eventually(lambda: server.metric("tf_ls_batches_running") == 0)


@pytest.mark.slow
def test_a_reader_that_does_not_read_keeps_nobody(server):
    """It is left when its deadline is over; the model is free when the tokens are made."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    host, port = server.rest.split(":")
    connection.connect((host, int(port)))
    # As many tokens as no buffer on the way holds.
    inputs = of_ids([[1]] * 100, **{**ENDLESS, "max_length": 900}, method="sampling")
    body = json.dumps(inputs).encode()
    head = "POST /v1/models/ids:stream HTTP/1.1\r\nHost: x\r\nX-Request-Timeout-Ms: 20000\r\n"
    connection.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    eventually(lambda: server.metric("tf_ls_batches_running") == 1)
    eventually(lambda: server.metric("tf_ls_batches_running") == 0)
    assert streamed(server, of_ids([[1, 3]]))[-1][0] == "end"
    slow = "the client reads too slowly"
    eventually(lambda: any(line.get("reason") == slow for line in server.logs), 60)
    connection.close()
    eventually(lambda: server.metric("tf_ls_requests_in_flight") == 0)


# The end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [True, False])
def test_told_to_stop_while_tokens_come(models, ends):
    """A stream that ends is finished; one that does not is given up in time."""
    flags = ["--max-length=1000000", "--drain-timeout=20" if ends else "--drain-timeout=0.3"]
    with ServerProcess(models, *flags) as server:
        length = 3000 if ends else 1_000_000
        options = {**ENDLESS, "max_length": length}
        connection, response = begin(server, of_ids([[1]], **options))
        events = events_of(response)
        next(events)
        server.terminate()
        server.wait_for("told to stop")
        names = [name for name, _ in events]
        connection.close()
        assert server.process.wait(60) == 0
        if ends:
            assert names == ["token"] * (length - 2) + ["end"]
        else:
            assert set(names[:-1]) <= {"token"}
            assert names[-1] == "error"


# gRPC --------------------------------------------------------------------------------------------

grpc = pytest.importorskip("grpc")


@pytest.fixture(scope="module")
def stream(server):
    """The method, as a client calls it."""
    from tensorflow_serving.apis import predict_pb2

    with grpc.insecure_channel(server.grpc) as channel:
        yield channel.unary_stream(
            "/tf_ls.serving.TokenStreams/Predict",
            request_serializer=predict_pb2.PredictRequest.SerializeToString,
            response_deserializer=predict_pb2.PredictResponse.FromString,
        )


def message(signature="serving_with_options", model="ids", **inputs):
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, value in inputs.items():
        dtype = tf.string if isinstance(value, (str, bytes)) or name == "prompts" else tf.int64
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value, dtype))
    return request


def arrays(response):
    return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


def test_tokens_over_grpc(server, stream):
    *told, end = [arrays(r) for r in stream(message(prompt=[[1, 3, EOS], [5, 4, 5]]), timeout=60)]
    wanted = continuations(build(), OPTIONS, [[1, 3], [5, 4, 5]])
    for i, ([tokens], [log_probs], _) in enumerate(wanted):
        found = [one for one in told if one["prompt"] == i]
        assert [one["token"] for one in found] == tokens
        assert [one["index"] for one in found] == list(range(len(tokens)))
        np.testing.assert_allclose(
            [one["log_prob"] for one in found], log_probs, rtol=1e-5, atol=1e-6
        )
    assert end["lengths"].tolist() == [[len(tokens)] for [tokens], *_ in wanted]
    assert end.keys() == {"lengths", "finish_reasons"}
    assert set(end["finish_reasons"].flat) <= {b"eos", b"length"}


def test_text_over_grpc(server, stream):
    request = message("generate", "text", prompts=["The host's half"])
    *told, end = [arrays(response) for response in stream(request, timeout=60)]
    _, answer = server.predict(
        "text", {"signature_name": "generate", "instances": ["The host's half"]}
    )
    text = b"".join(one["text"].item() for one in told).decode()
    assert text == end["texts"].item().decode() == answer["predictions"][0]["continuations"]


def test_a_client_that_cancels_its_call(server, stream):
    cancelled = server.metric("tf_ls_batches_cancelled_total")
    call = stream(message(prompt=[[1]], **ENDLESS), timeout=60)
    assert [arrays(next(call))["index"].item() for _ in range(5)] == list(range(5))
    call.cancel()
    eventually(lambda: server.metric("tf_ls_batches_cancelled_total") == cancelled + 1)
    eventually(lambda: server.metric("tf_ls_batches_running") == 0)


def test_a_deadline_over_grpc(server, stream):
    call = stream(message(prompt=[[1]], **ENDLESS), timeout=0.7)
    with pytest.raises(grpc.RpcError) as error:
        for _ in call:
            pass
    assert error.value.code().name == "DEADLINE_EXCEEDED"
    eventually(lambda: server.metric("tf_ls_batches_running") == 0)


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (message(prompt=[[11]]), "INVALID_ARGUMENT", "prompt 0 has 11 at 0"),
        (message("", "nothing", prompt=[[1]]), "NOT_FOUND", "Latest(nothing)"),
        (message(prompt=[[1]], method="beam_search"), "INVALID_ARGUMENT", "are not final"),
        (message("stream", prompt=[[1]]), "INVALID_ARGUMENT", "not found in signature def"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_calls(stream, request_, code, text):
    with pytest.raises(grpc.RpcError) as error:
        list(stream(request_, timeout=60))
    assert error.value.code().name == code
    assert text in error.value.details()


def test_a_token_is_needed_for_streams_too(models):
    environment = {"TF_LS_SERVE_TOKEN": "secret"}
    with ServerProcess(models, environment=environment) as server:
        status, _ = server.request("/v1/models/ids:stream", of_ids([[1]]))
        assert status == 401
        headers = {"Authorization": "Bearer secret"}
        assert server.request("/v1/models/ids:stream", of_ids([[1]]), headers=headers)[0] == 200
        with grpc.insecure_channel(server.grpc) as channel:
            call = channel.unary_stream("/tf_ls.serving.TokenStreams/Predict")
            with pytest.raises(grpc.RpcError) as error:
                list(call(message(prompt=[[1]]).SerializeToString(), timeout=60))
            assert error.value.code().name == "UNAUTHENTICATED"
