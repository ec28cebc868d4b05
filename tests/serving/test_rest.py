"""TensorFlow Serving's REST interface, over HTTP to a server that runs."""

from __future__ import annotations

import gzip
import http.client
import socket

import numpy as np
import pytest
from long_requests import ENDLESS, busy, post
from models_to_serve import EOS, VARIETY, Unbatched, sentences
from server_process import eventually


@pytest.fixture(scope="module")
def unbatched(models):
    return Unbatched(models / "ids")


def assert_hypotheses(found, wanted):
    width = wanted["tokens"].shape[1]
    assert [tokens[:width] for tokens in found["tokens"]] == wanted["tokens"].tolist()
    assert all(token == EOS for tokens in found["tokens"] for token in tokens[width:])
    assert found["lengths"] == wanted["lengths"].tolist()
    np.testing.assert_allclose(found["scores"], wanted["scores"], rtol=1e-5)


# What it answers ---------------------------------------------------------------------------------


def test_status(server):
    status, answer = server.request("/v1/models/arithmetic")
    assert status == 200
    ok = {"error_code": "OK", "error_message": ""}
    assert answer == {
        "model_version_status": [{"version": "12", "state": "AVAILABLE", "status": ok}]
    }
    assert server.request("/v1/models/arithmetic/versions/12") == (200, answer)


def test_list_of_models(server):
    status, answer = server.request("/v1/models")
    assert status == 200
    assert [model["name"] for model in answer["models"]] == ["arithmetic", "ids", "text"]
    _, of_one = server.request("/v1/models/arithmetic")
    assert answer["models"][0]["versions"] == of_one["model_version_status"]
    assert answer["limits"]["beam_size"] == 16
    assert answer["limits"]["length"] == 1_000_000


def test_metadata(server):
    status, answer = server.request("/v1/models/arithmetic/versions/12/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "arithmetic", "signature_name": "", "version": "12"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert signature["inputs"]["x"]["tensor_shape"] == {
        "dim": [{"size": "-1", "name": ""}],
        "unknown_rank": False,
    }


def test_stock_models(server):
    assert server.predict("arithmetic", {"instances": [1.0, 2.0, 5]}) == (
        200,
        {"predictions": [2.5, 3.0, 4.5]},
    )
    assert server.predict("arithmetic/versions/12", {"inputs": [0.25]}) == (
        200,
        {"outputs": [2.125]},
    )
    rows = [{"x": [1, 2], "name": "a"}, {"x": [3, 4], "name": {"b64": "Yg=="}}]
    assert server.predict("arithmetic", {"signature_name": "describe", "instances": rows}) == (
        200,
        {
            "predictions": [
                {"raw_bytes": {"b64": "YQ=="}, "sum": 3.0, "text": "a"},
                {"raw_bytes": {"b64": "Yg=="}, "sum": 7.0, "text": "b"},
            ]
        },
    )
    status, answer = server.predict("arithmetic", b'{"instances": [NaN, -Infinity]}')
    assert status == 200
    assert str(answer["predictions"]) == "[nan, -inf]"
    total = {"signature_name": "total", "inputs": [1, 2]}
    assert server.predict("arithmetic", total) == (200, {"outputs": 3})


@pytest.mark.parametrize("options", VARIETY[:-1], ids=str)
def test_generation(server, unbatched, options):
    rows = sentences(5, 1)
    inputs = {"source": rows, **options}
    status, answer = server.predict(
        "ids", {"signature_name": "serving_with_options", "inputs": inputs}
    )
    assert status == 200
    for index, row in enumerate(rows):
        found = {name: values[index] for name, values in answer["outputs"].items()}
        assert_hypotheses(found, unbatched.generate(row, **options))


def test_rows_of_ids(server, unbatched):
    rows = sentences(3, 2)
    status, answer = server.predict("ids", {"instances": rows})
    assert status == 200
    for row, found in zip(rows, answer["predictions"]):
        assert_hypotheses(found, unbatched.generate(row))


def test_text(server, models):
    texts = ["Padding is removed.", "layers", ""]
    status, answer = server.predict("text", {"signature_name": "translate", "instances": texts})
    assert status == 200
    translator = Unbatched(models / "text")
    for text, found in zip(texts, answer["predictions"]):
        assert found["translations"] == translator.translate(text)["translations"].decode()


def predicted(server, model, signature, **inputs):
    status, answer = server.predict(model, {"signature_name": signature, "inputs": inputs})
    assert status == 200
    return answer["outputs"]


def assert_attention(found, wanted):
    """Of one sentence; what is behind its ends, for the sake of longer ones, is zero."""
    hypotheses, made, read = wanted.shape
    found = np.array(found)
    np.testing.assert_allclose(found[:hypotheses, :made, :read], wanted, rtol=1e-4, atol=1e-6)
    assert not found[:, made:].any()
    assert not found[:, :, read:].any()


def test_attention_of_ids(server, unbatched):
    """Rows of several lengths, some of them with padding, which is ignored."""
    rows = [*sentences(3, 4), (3, 0, 4), (5, 6, 0, 0)]
    options = {"num_hypotheses": 2, "forbidden_tokens": [3]}
    outputs = predicted(server, "ids", "serving_with_attention", source=rows, **options)
    plain = predicted(server, "ids", "serving_with_options", source=rows, **options)
    attention = outputs.pop("attention")
    assert outputs == plain
    for row, lengths, found in zip(rows, plain["lengths"], attention):
        source = np.array([row], np.int64)
        wanted = unbatched.call("serving_with_attention", source=source, **options)["attention"]
        assert_attention(found, wanted[:, : max(lengths)])


def test_attention_of_text(server, models):
    texts = ["Padding is removed.", "layers", ""]
    options = {"num_hypotheses": 3}
    outputs = predicted(server, "text", "translate_with_attention", sentences=texts, **options)
    translator = Unbatched(models / "text")
    for index, text in enumerate(texts):
        wanted = translator.call("translate_with_attention", sentences=[text], **options)
        found = {name: values[index] for name, values in outputs.items()}
        assert found["translations"] == [text.decode() for text in wanted["translations"]]
        np.testing.assert_allclose(found["scores"], wanted["scores"], rtol=1e-5)
        source = [piece.decode() for piece in wanted["source_pieces"]]
        assert found["source_pieces"][: len(source)] == source
        assert not any(found["source_pieces"][len(source) :])
        for target, own in zip(found["target_pieces"], wanted["target_pieces"]):
            assert target[: len(own)] == [piece.decode() for piece in own]
            assert not any(target[len(own) :])
        assert_attention(found["attention"], wanted["attention"])


def test_no_attention_to_nothing(server):
    outputs = predicted(server, "text", "translate_with_attention", sentences=[])
    assert outputs == {name: [] for name in outputs}


def test_nothing_to_generate(server):
    assert server.predict("ids", {"inputs": []}) == (
        200,
        {"outputs": {"lengths": [], "scores": [], "tokens": []}},
    )


def test_signatures_that_are_no_generation(server):
    status, answer = server.predict("ids", {"signature_name": "default_options", "inputs": {}})
    assert status == 200
    assert answer["outputs"]["beam_size"] == 3


def test_health_and_metrics(server):
    assert server.request("/healthz") == (200, "ok\n")
    assert server.request("/readyz") == (200, "ready\n")
    before = server.metric("tf_ls_requests_total")
    server.predict("ids", {"instances": [[1, 2, 3]]})
    assert server.metric("tf_ls_requests_total") == before + 1
    assert server.metric("tf_ls_model_version_loaded") == 3
    _, text = server.request("/metrics")
    for stage in ("parse", "prepare", "queue", "compute", "answer", "total"):
        assert f'tf_ls_stage_seconds_count{{stage="{stage}"}}' in text


def test_compressed_requests(server):
    body = gzip.compress(b'{"instances": [2.0]}')
    headers = {"Content-Encoding": "gzip"}
    assert server.predict("arithmetic", body, headers=headers) == (200, {"predictions": [3.0]})
    broken = gzip.compress(b'{"instances": [2.0]}')[:-10] + b"\0" * 10
    assert server.predict("arithmetic", broken, headers=headers)[0] == 400
    bomb = gzip.compress(b'{"instances": [' + b" " * 50_000_000 + b"1]}")
    assert server.predict("arithmetic", bomb, headers=headers)[0] == 413


# What it refuses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/nobody", 404, "Could not find any versions of model nobody"),
        ("/v1/models/ids/versions/7", 404, "Could not find any versions of model ids with version"),
        ("/v1/models/ids/versions/" + "9" * 30, 400, "Failed to convert version"),
        ("/v1/models/nobody/metadata", 404, "Servable not found for request: Latest(nobody)"),
        ("/v1/models/ids/labels/stable", 404, "Unrecognized servable version label: stable"),
        ("/v1/models/../../etc/passwd", 400, "Malformed request: GET"),
        ("/v1/models/..%2f..%2fetc%2fpasswd", 404, "Could not find any versions of model"),
        ("/v1/models/ids/versions/x", 400, "Malformed request: GET /v1/models/ids/versions/x"),
        ("/v1/model", 400, "Malformed request: GET /v1/model"),
        ("/v1/models/", 400, "Malformed request: GET /v1/models/"),
        ("/etc/passwd", 404, "Malformed request"),
        ("/v1/models/ids:predict", 400, "Malformed request: GET"),
    ],
    ids=str,
)
def test_what_is_not_there(server, path, status, message):
    # http.client sends a path as it is.
    connection = http.client.HTTPConnection(server.rest)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    assert (response.status, response.headers.get_content_type()) == (status, "application/json")
    assert message in body


@pytest.mark.parametrize(
    ("model", "content", "message"),
    [
        ("ids", b"", "JSON Parse error: The document is empty"),
        ("ids", b"{", "JSON Parse error"),
        ("ids", b"\xff\xfe", "not UTF-8"),
        ("ids", b"[" * 90_000, "JSON Parse error"),
        ("ids", b'{"instances": [[' + b"9" * 90_000 + b"]]}", "a number is too long"),
        ("ids", {"instances": [[10**30]]}, "a number is no int64"),
        ("ids", {"instances": [[1, 13]]}, "sentence 0 has 13 at 1, which is not in the vocabulary"),
        ("ids", {"instances": [["a"]]}, "must be int64, got a string"),
        ("ids", {"instances": [[1, [2]]]}, "must be int64, got a list"),
        ("ids", {"instances": [1, 2]}, "must be a list of lists"),
        ("ids", {"signature_name": 3, "instances": [[1]]}, "'signature_name' key must be a string"),
        ("ids", {"signature_name": "x/../y", "instances": [[1]]}, "not found in signature def"),
        ("ids", {"signature_name": "__saved_model_init_op", "inputs": {}}, "not found in sig"),
        ("ids", {"inputs": {"source": [[1]], "beam_size": 2}}, "not have named input: beam_size"),
        ("arithmetic", {"instances": [[1.0]]}, "must be float32, got a list"),
        (
            "arithmetic",
            {"signature_name": "describe", "inputs": {"x": [[1, 2]]}},
            "needs the input",
        ),
        (
            "arithmetic",
            {"signature_name": "describe", "inputs": {"x": [[1]], "name": ["a"]}},
            "input x of signature describe has the shape (None, 2), got [1, 1]",
        ),
        ("arithmetic", {"signature_name": "total", "instances": [1]}, "no common first dimension"),
        ("arithmetic", {"signature_name": "positive", "inputs": [0]}, "must be positive"),
    ],
    ids=str,
)
def test_bad_requests(server, models, model, content, message):
    status, answer = server.predict(model, content)
    assert status == 400
    assert list(answer) == ["error"]
    assert message in answer["error"]
    assert str(models.parent) not in answer["error"]
    assert "site-packages" not in answer["error"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beams": 3}, "does not have named input: beams"),
        ({"beam_size": 65}, "beam_size: expected 1 to 64, got 65"),
        ({"beam_size": 17}, "beam_size: this server takes at most 16, got 17"),
        ({"beam_size": 1.5}, "input beam_size: must be int64"),
        ({"method": "x"}, "method: expected one of"),
        ({"max_length": 10**9, "max_extra_length": -1}, "may have 1000000000 tokens"),
        ({"forbidden_tokens": [99]}, "forbidden_tokens has 99"),
        ({"temperature": float("inf")}, "temperature: expected more than 0"),
    ],
    ids=str,
)
def test_bad_options(server, options, message):
    content = {"signature_name": "serving_with_options", "inputs": {"source": [[1]], **options}}
    status, answer = server.predict("ids", content)
    assert status == 400
    assert message in answer["error"]


def test_too_much_attention(server):
    """2 hypotheses of up to 151 tokens, to 1,000: more than 262,144 numbers."""
    inputs = {"source": [[1] * 1000], "num_hypotheses": 2, "max_length": 151}
    content = {"signature_name": "serving_with_attention", "inputs": inputs}
    status, answer = server.predict("ids", content)
    assert status == 400
    assert answer["error"].startswith("attention (sentences x num_hypotheses x length x source): ")
    assert answer["error"].endswith("takes at most 262144, got 302000")


def test_too_large(server):
    status, answer = server.predict("ids", b" " * 200_001)
    assert (status, answer) == (413, {"error": "the request has more than 200000 bytes"})
    assert server.predict("ids", {"instances": [[1]] * 1025})[0] == 400


def test_other_verbs(server):
    for verb in ("classify", "regress"):
        assert server.request(f"/v1/models/ids:{verb}", {})[0] == 501


def test_no_http(server):
    for content in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\0" * 10_000):
        with socket.create_connection(server.rest.split(":"), timeout=30) as connection:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            assert b" 200 " not in connection.recv(1000)
    assert server.request("/healthz")[0] == 200


# Giving up ---------------------------------------------------------------------------------------


def test_a_deadline_stops_what_runs(server):
    cancelled = server.metric("tf_ls_batches_cancelled_total")
    headers = {"X-Request-Timeout-Ms": "300"}
    assert server.predict("ids", ENDLESS, headers=headers) == (
        504,
        {"error": "the deadline is over"},
    )
    eventually(lambda: server.metric("tf_ls_batches_cancelled_total") == cancelled + 1)
    assert server.predict("ids", {"instances": [[1, 2]]})[0] == 200


@pytest.mark.parametrize("timeout", ["0", "-1", "x", "1e3", "9" * 20])
def test_bad_deadlines(server, timeout):
    headers = {"X-Request-Timeout-Ms": timeout}
    status, answer = server.predict("ids", {"instances": [[1]]}, headers=headers)
    assert status == 400
    assert "must be a number of milliseconds" in answer["error"]


def test_a_client_that_leaves_stops_what_runs(server):
    cancelled = server.metric("tf_ls_batches_cancelled_total")
    busy(server).close()
    eventually(lambda: server.metric("tf_ls_batches_cancelled_total") == cancelled + 1)


def test_clients_that_leave_the_queue(server):
    running = busy(server)
    waiting = [post(server, b'{"instances": [[1, 2]]}') for _ in range(20)]
    eventually(lambda: server.metric("tf_ls_queue_sentences") == 20)
    for connection in waiting:
        connection.close()
    eventually(lambda: server.metric("tf_ls_queue_sentences") == 0)
    running.close()
    assert server.predict("ids", {"instances": [[1, 2]]})[0] == 200


def test_overload_is_refused_and_what_was_taken_is_answered(server):
    running = busy(server)
    taken = post(server, b'{"instances": ' + str([[1]] * 290).encode() + b"}")
    eventually(lambda: server.metric("tf_ls_queue_sentences") == 290)
    connection = http.client.HTTPConnection(server.rest)
    connection.request(
        "POST", "/v1/models/ids:predict", b'{"instances": ' + b"[[1]" + b",[1]" * 10 + b"]}"
    )
    response = connection.getresponse()
    assert (response.status, b"overloaded" in response.read()) == (503, True)
    assert int(response.headers["Retry-After"]) >= 1
    connection.close()
    running.close()
    assert taken.recv(12) == b"HTTP/1.1 200"
    taken.close()


def test_slow_writers_and_readers_hold_up_nobody(server):
    content = b'{"instances": [[1, 2]]}'
    head = f"POST /v1/models/ids:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}"
    slow = [socket.create_connection(server.rest.split(":"), timeout=60) for _ in range(20)]
    for connection in slow:
        connection.sendall(head.encode() + b"\r\n\r\n" + content[:5])
    readers = [post(server, content) for _ in range(20)]
    assert server.predict("ids", {"instances": [[1, 2]]})[0] == 200
    for connection in slow:
        for byte in content[5:]:
            connection.sendall(bytes([byte]))
    for connection in slow + readers:
        answer = b""
        while not answer.endswith(b"]}"):
            answer += connection.recv(1)
        assert answer.startswith(b"HTTP/1.1 200")
        connection.close()
