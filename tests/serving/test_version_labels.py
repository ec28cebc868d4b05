"""Names of versions: the file, the store, and what clients of a server get."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from models_to_serve import save_arithmetic
from server_process import ServerProcess, eventually

from tf_ls.serving.errors import ServingError
from tf_ls.serving.metrics import Metrics
from tf_ls.serving.model_store import ModelStore
from tf_ls.serving.version_labels import VersionLabels


def write(path: Path, labels) -> Path:
    """Replaces the file, as one should: nobody reads half of it."""
    new = path.with_suffix(".new")
    new.write_text(labels if isinstance(labels, str) else json.dumps(labels))
    os.replace(new, path)
    return path


def not_found(call, *arguments) -> str:
    with pytest.raises(ServingError) as error:
        call(*arguments)
    assert error.value.code == "NOT_FOUND"
    return error.value.message


# The file ----------------------------------------------------------------------------------------


def test_labels(tmp_path):
    labels = VersionLabels(write(tmp_path / "labels", {"a": {"stable": 3, "canary": 12}, "b": {}}))
    assert labels.number("a", "stable") == 3
    assert labels.of("a") == {3, 12}
    assert labels.of("b") == labels.of("c") == set()
    for model, label in (("a", "new"), ("b", "stable"), ("c", "stable")):
        message = not_found(labels.number, model, label)
        assert message == f"Unrecognized servable version label: {label}"
    assert not_found(VersionLabels(None).number, "a", "stable")


def test_a_file_that_changes(tmp_path, caplog):
    path = write(tmp_path / "labels", {"a": {"stable": 3}})
    labels = VersionLabels(path)
    write(path, {"a": {"stable": 4}})
    labels.refresh()
    assert labels.number("a", "stable") == 4
    for bad in ("{", '{"a": {"stable": "4"}}'):
        write(path, bad)
        labels.refresh()
        assert labels.number("a", "stable") == 4
        assert "labels of versions stay as they were" in caplog.text
    path.unlink()
    labels.refresh()
    assert labels.number("a", "stable") == 4
    write(path, {})
    labels.refresh()
    not_found(labels.number, "a", "stable")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense", 'must be JSON, {"MODEL": {"LABEL": VERSION}}: Expecting value'),
        ("[]", "must be JSON"),
        ('{"a": 3}', "must be JSON"),
        ('{"a": {"stable": true}}', "a: stable must be a version, got True"),
        ('{"a": {"stable": -1}}', "a: stable must be a version, got -1"),
        ('{"a": {"x/y": 1}}', "a: 'x/y' cannot be a label"),
        ('{"a": {"": 1}}', "a: '' cannot be a label"),
    ],
)
def test_bad_files(tmp_path, content, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        VersionLabels(write(tmp_path / "labels", content))


# The store ---------------------------------------------------------------------------------------


def put(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_text("good")


def refresh(store: ModelStore) -> None:
    async def twice():
        for _ in range(2):
            await store.refresh()

    asyncio.run(twice())


def test_versions_with_labels_are_kept_beside_the_newest(tmp_path):
    for number in (1, 2, 3):
        put(tmp_path / "models" / "a" / str(number))
    path = write(tmp_path / "labels", {"a": {"stable": 1, "gone": 9}})
    store = ModelStore(
        tmp_path / "models",
        name=None,
        load=lambda path: path.name,
        keep=1,
        metrics=Metrics(1),
        labels=VersionLabels(path),
    )
    asyncio.run(store.start())

    def leased(which=None):
        with store.lease("a", which) as version:
            return version.model

    assert (leased(), leased("stable"), leased(1)) == ("3", "1", "1")
    assert not_found(leased, 2)
    assert [version.number for version in store.versions("a", "stable")] == [1]
    assert not_found(leased, "gone") == "Servable not found for request: Specific(a, 9)"
    assert "version label: new" in not_found(leased, "new")
    # The label moves on: its new version is loaded, the old one is not needed any more.
    write(path, {"a": {"stable": 2}})
    refresh(store)
    assert (leased(), leased("stable")) == ("3", "2")
    assert not_found(leased, 1)
    # Its folder goes away.
    shutil.rmtree(tmp_path / "models" / "a" / "2")
    refresh(store)
    assert not_found(leased, "stable") == "Servable not found for request: Specific(a, 2)"
    assert leased() == "3"


def test_labels_of_models_that_are_not_there(tmp_path):
    put(tmp_path / "a" / "1")
    store = ModelStore(tmp_path, name=None, load=str, keep=1, metrics=Metrics(1))
    asyncio.run(store.start())
    with pytest.raises(ServingError, match=r"Latest\(b\)"), store.lease("b", "stable"):
        pass
    not_found(store.versions, "b", "stable")


# A server ----------------------------------------------------------------------------------------


def test_a_server_with_labels(tmp_path):
    for version in (3, 12):
        save_arithmetic(tmp_path / "models" / "half" / str(version))
    path = write(tmp_path / "labels", {"half": {"stable": 3}})
    with ServerProcess(tmp_path / "models", f"--version-labels={path}") as server:
        half = {"instances": [1.0]}
        assert server.predict("half/labels/stable", half) == (200, {"predictions": [2.5]})
        _, status = server.request("/v1/models/half/labels/stable")
        assert [one["version"] for one in status["model_version_status"]] == ["3"]
        _, metadata = server.request("/v1/models/half/labels/stable/metadata")
        assert metadata["model_spec"]["version"] == "3"
        status, answer = server.predict("half/labels/canary", half)
        assert (status, answer) == (404, {"error": "Unrecognized servable version label: canary"})
        over_grpc(server)
        write(path, {"half": {"canary": 12}})
        eventually(lambda: server.predict("half/labels/canary", half)[0] == 200)
        assert server.predict("half/labels/stable", half)[0] == 404
        server.wait_for("unloaded", version=3)


def over_grpc(server):
    grpc = pytest.importorskip("grpc")
    import tensorflow as tf
    from tensorflow_serving.apis import (
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    with grpc.insecure_channel(server.grpc) as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.version_label = "half", "stable"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0]))
        response = predict(request, timeout=60)
        assert response.model_spec.version.value == 3
        assert tf.make_ndarray(response.outputs["y"]).tolist() == [2.5]
        request.model_spec.version_label = "canary"
        with pytest.raises(grpc.RpcError) as error:
            predict(request, timeout=60)
        assert error.value.code().name == "NOT_FOUND"
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name, status.model_spec.version_label = "half", "stable"
        found = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status, timeout=60)
        assert [one.version for one in found.model_version_status] == [3]


def test_a_bad_file_starts_no_server(tmp_path, capsys):
    from tf_ls.command_line.main import main

    save_arithmetic(tmp_path / "model")
    path = write(tmp_path / "labels", "nonsense")
    assert main(["serve", str(tmp_path / "model"), f"--version-labels={path}"]) == 1
    assert "must be JSON" in capsys.readouterr().err
    assert main(["serve", str(tmp_path / "model"), "--version-labels=nowhere"]) == 1
    assert "nowhere" in capsys.readouterr().err
