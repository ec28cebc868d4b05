"""TensorFlow Serving's gRPC services, with the clients of tensorflow-serving-api."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
import tensorflow as tf
from models_to_serve import EOS, Unbatched, sentences
from server_process import eventually
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def request(model, signature="", version=None, outputs=(), **inputs):
    message = predict_pb2.PredictRequest(output_filter=outputs)
    message.model_spec.name = model
    message.model_spec.signature_name = signature
    if version is not None:
        message.model_spec.version.value = version
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return message


def arrays(response):
    return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


def refused(call, *arguments, **more):
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, timeout=60, **more)
    return error.value.code().name, error.value.details()


def test_predict(stub):
    response = stub.Predict(request("arithmetic", x=np.array([1, 5], np.float32)), timeout=60)
    assert arrays(response)["y"].tolist() == [2.5, 4.5]
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == (
        "arithmetic",
        12,
        "serving_default",
    )


def test_chosen_outputs(stub):
    inputs = {"x": np.ones([1, 2], np.float32), "name": [b"\xff"]}
    chosen = stub.Predict(request("arithmetic", "describe", outputs=["sum"], **inputs), timeout=60)
    assert arrays(chosen).keys() == {"sum"}
    whole = arrays(
        stub.Predict(request("arithmetic", "describe", version=12, **inputs), timeout=60)
    )
    assert whole["raw_bytes"].tolist() == [b"\xff"]


def test_generation(stub, models):
    rows = sentences(4, 3)
    source = np.zeros([4, max(map(len, rows)) + 2], np.int64)
    for place, row in zip(source, rows):
        place[: len(row)] = row
    message = request("ids", "serving_with_options", source=source, num_hypotheses=np.int64(2))
    found = arrays(stub.Predict(message, timeout=60))
    unbatched = Unbatched(models / "ids")
    for index, row in enumerate(rows):
        wanted = unbatched.generate(row, num_hypotheses=2)
        width = wanted["tokens"].shape[1]
        np.testing.assert_array_equal(found["tokens"][index, :, :width], wanted["tokens"])
        assert (found["tokens"][index, :, width:] == EOS).all()
        np.testing.assert_array_equal(found["lengths"][index], wanted["lengths"])
        np.testing.assert_allclose(found["scores"][index], wanted["scores"], rtol=1e-5)


def test_metadata(stub, models):
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    message.model_spec.name = "ids"
    response = stub.GetModelMetadata(message, timeout=60)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert "serving_with_options" in signatures.signature_def
    message.metadata_field[:] = ["assets"]
    assert refused(stub.GetModelMetadata, message)[0] == "INVALID_ARGUMENT"


def test_status(channel):
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = "ids"
    [version] = status(message, timeout=60).model_version_status
    assert (version.version, version.state) == (
        1,
        get_model_status_pb2.ModelVersionStatus.State.AVAILABLE,
    )
    message.model_spec.name = "../ids"
    assert refused(status, message)[0] == "NOT_FOUND"


SOURCE = np.array([[1]])


@pytest.mark.parametrize(
    ("message", "code", "details"),
    [
        (request("nobody"), "NOT_FOUND", "Servable not found for request: Latest(nobody)"),
        (request("ids", version=9), "NOT_FOUND", "Specific(ids, 9)"),
        (request("ids", "x", source=SOURCE), "INVALID_ARGUMENT", "not found in signature def"),
        (request("ids"), "INVALID_ARGUMENT", "needs the input source"),
        (request("ids", source=SOURCE, x=1), "INVALID_ARGUMENT", "has no input x"),
        (request("ids", source=[[1.0]]), "INVALID_ARGUMENT", "must be int64, got float32"),
        (request("ids", source=np.array([1])), "INVALID_ARGUMENT", "has the shape (None, None)"),
        (request("ids", source=np.array([[99]])), "INVALID_ARGUMENT", "sentence 0 has 99 at 0"),
        (request("ids", source=SOURCE, outputs=["x"]), "INVALID_ARGUMENT", "has no output x"),
        (
            request("arithmetic", "positive", x=np.array([0], np.int32)),
            "INVALID_ARGUMENT",
            "must be positive",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_requests(stub, message, code, details):
    found = refused(stub.Predict, message)
    assert found[0] == code
    assert details in found[1]


def test_what_is_no_message(channel):
    predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    for content in (b"\xff" * 100, b"\x0a\x80\x80\x80\x80\x08x", b"\x12" * 1000):
        code, details = refused(predict, content)
        assert (code, details) == ("INVALID_ARGUMENT", "the message is no PredictRequest")


def test_a_few_bytes_that_stand_for_many(stub):
    message = request("arithmetic", x=np.array([1], np.float32))
    message.inputs["x"].tensor_shape.dim[0].size = 1 << 40
    code, details = refused(stub.Predict, message)
    assert code == "INVALID_ARGUMENT"
    assert "more than 200000 bytes" in details


def test_too_large(stub):
    message = request("arithmetic", x=np.zeros([100_000], np.float32))
    assert refused(stub.Predict, message)[0] == "RESOURCE_EXHAUSTED"


def test_other_methods(stub):
    assert refused(stub.Classify, classification_pb2.ClassificationRequest())[0] == "UNIMPLEMENTED"


def endless():
    options = {"beam_size": 1, "max_length": 1_000_000, "max_extra_length": -1}
    options = {name: np.int64(value) for name, value in options.items()}
    forbidden = np.array([EOS], np.int64)
    return request(
        "ids", "serving_with_options", source=SOURCE, forbidden_tokens=forbidden, **options
    )


def test_a_deadline_stops_what_runs(server, stub):
    cancelled = server.metric("tf_ls_batches_cancelled_total")
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(endless(), timeout=0.5)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: server.metric("tf_ls_batches_cancelled_total") == cancelled + 1)


def test_a_client_that_leaves_stops_what_runs(server, stub):
    cancelled = server.metric("tf_ls_batches_cancelled_total")
    eventually(lambda: server.metric("tf_ls_batches_running") == 0)
    call = stub.Predict.future(endless())
    eventually(lambda: server.metric("tf_ls_batches_running") == 1)
    call.cancel()
    eventually(lambda: server.metric("tf_ls_batches_cancelled_total") == cancelled + 1)
    assert stub.Predict(request("ids", source=SOURCE), timeout=60)
