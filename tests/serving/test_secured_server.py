"""A server with TLS and a token, through its whole life: versions come, it is killed, it ends."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import threading
import urllib.request

import grpc
import pytest
import trustme
from models_to_serve import OPTIONS, START, Unbatched, build, export
from server_process import ServerProcess, eventually
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from traffic import Clients, Outcomes

TOKEN = "a-secret"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    with (folder / "chain.pem").open("wb") as file:
        file.write(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    (folder / "token").write_text(TOKEN)
    authority.folder = folder
    return authority


@pytest.fixture(scope="module")
def versions(models, tmp_path_factory):
    """A folder with version 1 of a model."""
    folder = tmp_path_factory.mktemp("versions") / "ids"
    shutil.copytree(models / "ids", folder / "1")
    return folder


@pytest.fixture(scope="module")
def unbatched(models):
    return Unbatched(models / "ids")


class Secured:
    """Starts servers, and makes clients that they trust."""

    def __init__(self, authority, versions, unbatched):
        self._authority, self._versions, self._unbatched = authority, versions, unbatched
        self.tls = ssl.create_default_context()
        authority.configure_trust(self.tls)
        self.credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())

    def start(self) -> ServerProcess:
        files = self._authority.folder
        return ServerProcess(
            self._versions,
            f"--tls-certificate={files / 'chain.pem'}",
            f"--tls-key={files / 'key.pem'}",
            f"--token-file={files / 'token'}",
            "--queue-seconds=1000",
            "--queue-patience=1000",
            "--no-page",
        )

    def clients(self, server: ServerProcess) -> Clients:
        return Clients(
            server.rest,
            server.grpc,
            self._unbatched,
            token=TOKEN,
            certificate=self.tls,
            credentials=self.credentials,
        )

    def status(self, server: ServerProcess, path: str, **headers: str) -> int:
        request = urllib.request.Request(f"https://{server.rest}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, context=self.tls, timeout=60) as response:
                return response.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code


@pytest.fixture(scope="module")
def secured(authority, versions, unbatched):
    return Secured(authority, versions, unbatched)


@pytest.fixture(scope="module")
def server(secured):
    with secured.start() as process:
        yield process


def under_load(clients, seed, while_it_runs):
    """What becomes of requests that come while something happens, which is told of them."""
    stop = threading.Event()
    outcomes = Outcomes()
    sending = clients.send(1_000_000, clients=8, seed=seed, outcomes=outcomes, until=stop.is_set)
    thread = threading.Thread(target=asyncio.run, args=[sending])
    thread.start()
    try:
        answered(outcomes, 20)
        while_it_runs(outcomes)
    finally:
        stop.set()
        thread.join()
    assert not outcomes.wrong
    return outcomes.kinds


def answered(outcomes, more):
    """Waits for answers."""
    wanted = outcomes.kinds["OK"] + more
    eventually(lambda: outcomes.kinds["OK"] >= wanted, 120)


def test_nothing_without_the_token(server, secured):
    path = "/v1/models/ids"
    assert secured.status(server, path) == 401
    assert secured.status(server, path, Authorization="Bearer wrong") == 401
    assert secured.status(server, "/metrics") == 401
    assert secured.status(server, path, Authorization=f"Bearer {TOKEN}") == 200
    assert secured.status(server, "/") == 401
    assert secured.status(server, "/", Authorization=f"Bearer {TOKEN}") == 404  # --no-page
    assert secured.status(server, "/healthz") == secured.status(server, "/readyz") == 200
    with grpc.secure_channel(server.grpc, secured.credentials) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for metadata in ([], [("authorization", "Bearer wrong")]):
            with pytest.raises(grpc.RpcError) as error:
                stub.Predict(predict_pb2.PredictRequest(), metadata=metadata, timeout=60)
            assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_nothing_without_tls(server):
    with pytest.raises(OSError):  # noqa: PT011
        server.request("/healthz")
    with grpc.insecure_channel(server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.RpcError):
            stub.Predict(predict_pb2.PredictRequest(), timeout=5)


def test_secrets_are_in_no_log(server):
    assert TOKEN not in str(server.logs) + "".join(server.other)


def test_versions_come_and_go_without_a_failed_request(server, secured, versions):
    """A broken one, then a good one, of the same weights, so that all answers stay the same."""

    def change(outcomes):
        (versions / "2").mkdir()
        (versions / "2" / "saved_model.pb").write_bytes(b"broken")
        server.wait_for("could not be loaded", version=2)
        shutil.copytree(versions / "1", versions / "3")
        server.wait_for("available", version=3)
        server.wait_for("unloaded", version=1)
        answered(outcomes, 20)

    kinds = under_load(secured.clients(server), 1, change)
    assert kinds.keys() == {"OK", "INVALID_ARGUMENT"}


def test_a_new_version_answers_as_it_should(server, secured, versions, tmp_path):
    network = build()
    network.set_weights([weight * 1.1 for weight in network.get_weights()])
    export.save(network, tmp_path / "new", options=OPTIONS, start=START)
    shutil.copytree(tmp_path / "new", versions / "4")
    server.wait_for("available", version=4)
    clients = secured.clients(server)
    clients._unbatched = Unbatched(tmp_path / "new")
    outcomes = asyncio.run(clients.send(50, clients=4, seed=4))
    assert not outcomes.wrong
    shutil.rmtree(versions / "4")
    server.wait_for("available", version=3)
    server.wait_for("unloaded", version=4)


def test_killed_under_load_and_started_again(server, secured):
    """No answer is wrong; then the server is drained."""

    def kill(outcomes):
        server.process.kill()
        server.process.wait()

    kinds = under_load(secured.clients(server), 2, kill)
    assert {kind for kind in kinds if not kind.startswith("no answer")} <= {
        "OK",
        "INVALID_ARGUMENT",
        "CANCELLED",
        "INTERNAL",
        "UNKNOWN",
    }
    with secured.start() as again:
        outcomes = asyncio.run(secured.clients(again).send(100, clients=8, seed=3))
        assert not outcomes.wrong
        assert outcomes.kinds.keys() == {"OK", "INVALID_ARGUMENT"}
        drained(again, secured)


def drained(server, secured):
    """Told to stop: not ready at once, what comes meanwhile is answered or refused, exit 0."""
    statuses = []

    def stop(outcomes):
        server.terminate()
        server.wait_for("told to stop")
        statuses.append(secured.status(server, "/readyz"))
        assert server.process.wait(60) == 0

    kinds = under_load(secured.clients(server), 5, stop)
    assert statuses == [503]
    assert {kind for kind in kinds if not kind.startswith("no answer")} <= {
        "OK",
        "INVALID_ARGUMENT",
        "UNAVAILABLE",
        "CANCELLED",  # what gRPC says of calls that came when it had stopped listening
    }
    assert not any(line.get("code") == "CANCELLED" for line in server.logs)
    assert server.logs[-1]["message"] == "stopped"
    assert not any(line["message"] == "given up" for line in server.logs)
