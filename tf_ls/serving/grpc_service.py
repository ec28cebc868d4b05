"""TensorFlow Serving's gRPC services: Predict, GetModelMetadata, GetModelStatus; and a stream.

Others are UNIMPLEMENTED. Messages are those of the package tensorflow-serving-api. Its
PredictionService has no method that streams, so there is a service of our own, STREAMS, of the same
messages.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, Callable, Optional, Union

import grpc
import grpc.aio
import numpy as np
from google.protobuf.message import DecodeError, Message
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from tf_ls.serving import proto_tensors
from tf_ls.serving.answering import answering
from tf_ls.serving.errors import ServingError, internal, invalid
from tf_ls.serving.loaded_model import Signature
from tf_ls.serving.model_store import Version, Which
from tf_ls.serving.predictor import Predictor
from tf_ls.serving.security import Certificate, check_token
from tf_ls.serving.token_events import End, Told

log = logging.getLogger(__name__)

STREAMS = "tf_ls.serving.TokenStreams"

_SIGNATURES = "signature_def"
_State = get_model_status_pb2.ModelVersionStatus.State


async def start(
    predictor: Predictor,
    *,
    host: str,
    port: int,
    certificate: Optional[Certificate],
    token: Optional[str],
) -> tuple[grpc.aio.Server, int]:
    """Starts to listen.

    Args:
        predictor: answers predictions.
        host: to listen on.
        port: 0: any that is free.
        certificate: for TLS; None: none.
        token: that all calls need; None: none.

    Returns:
        The server, and its port.

    Raises:
        OSError: the port is taken.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", predictor.limits.request_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ]
    )
    service = _Service(predictor, token)
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "tensorflow.serving.PredictionService",
                {
                    "Predict": service.handler(predict_pb2.PredictRequest, service.predict),
                    "GetModelMetadata": service.handler(
                        get_model_metadata_pb2.GetModelMetadataRequest, service.metadata
                    ),
                },
            ),
            grpc.method_handlers_generic_handler(
                "tensorflow.serving.ModelService",
                {
                    "GetModelStatus": service.handler(
                        get_model_status_pb2.GetModelStatusRequest, service.status
                    ),
                },
            ),
            grpc.method_handlers_generic_handler(
                STREAMS,
                {"Predict": service.stream_handler(predict_pb2.PredictRequest, service.stream)},
            ),
        )
    )
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if certificate is None:
            bound = server.add_insecure_port(address)
        else:
            pair = (certificate.key.read_bytes(), certificate.chain.read_bytes())
            bound = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    except RuntimeError as error:
        raise OSError(f"gRPC cannot listen on {address}: {error}") from None
    if bound == 0:
        raise OSError(f"gRPC cannot listen on {address}")
    await server.start()
    return server, bound


class _Service:
    def __init__(self, predictor: Predictor, token: Optional[str]):
        self._predictor, self._token = predictor, token

    def handler(
        self, request_type: type[Message], method: Callable[[Any, Any], Awaitable[Message]]
    ) -> grpc.RpcMethodHandler:
        """A handler of bytes, so that what is no message is the client's error, not ours."""

        async def handle(content: bytes, context: grpc.aio.ServicerContext) -> bytes:
            try:
                request = self._request(request_type, content, context)
                return (await method(request, context)).SerializeToString()
            except ServingError as error:
                await _abort(context, error)
            except Exception:
                log.exception("a request failed")
                await _abort(context, internal())
            raise AssertionError("abort has raised")

        return grpc.unary_unary_rpc_method_handler(handle)

    def stream_handler(
        self, request_type: type[Message], method: Callable[[Any, Any], Awaitable[None]]
    ) -> grpc.RpcMethodHandler:
        """The same for a method that writes any number of messages itself."""

        async def handle(content: bytes, context: grpc.aio.ServicerContext) -> None:
            try:
                await method(self._request(request_type, content, context), context)
                return
            except ServingError as error:
                await _abort(context, error)
            except Exception:
                log.exception("a request failed")
                await _abort(context, internal())

        return grpc.unary_stream_rpc_method_handler(handle)

    def _request(
        self, request_type: type[Message], content: bytes, context: grpc.aio.ServicerContext
    ) -> Message:
        metadata = dict(context.invocation_metadata() or ())
        check_token(self._token, _as_text(metadata.get("authorization", "")))
        try:
            return request_type.FromString(content)
        except DecodeError:
            raise invalid(f"the message is no {request_type.DESCRIPTOR.name}") from None

    async def predict(
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> predict_pb2.PredictResponse:
        predictor, metrics = self._predictor, self._predictor.metrics
        loop = asyncio.get_running_loop()
        with answering(predictor, "grpc", "Predict") as account:
            deadline = predictor.deadline(context.time_remaining())
            with predictor.store.lease(*_model_and_version(request.model_spec)) as version:
                account.model, account.version = version.name, version.number
                started = loop.time()
                signature, inputs = self._read(request, version)
                wanted = list(request.output_filter) or signature.outputs
                for name in wanted:
                    if name not in signature.outputs:
                        raise invalid(f"signature {signature.name} has no output {name}")
                metrics.stage("parse", loop.time() - started)
                outputs = await predictor.predict(version, signature, inputs, deadline)
                started = loop.time()
                response = predict_pb2.PredictResponse(model_spec=_spec(version, signature.name))
                for name in wanted:
                    response.outputs[name].CopyFrom(proto_tensors.from_array(outputs[name]))
                metrics.stage("answer", loop.time() - started)
                return response

    async def stream(
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> None:
        """Writes a response for each token, and one for the end."""
        predictor = self._predictor
        loop = asyncio.get_running_loop()
        with answering(predictor, "grpc", "stream") as account:
            deadline = predictor.deadline(context.time_remaining())
            with predictor.store.lease(*_model_and_version(request.model_spec)) as version:
                account.model, account.version = version.name, version.number
                started = loop.time()
                signature, inputs = self._read(request, version)
                if request.output_filter:
                    raise invalid("a stream's outputs cannot be chosen: output_filter is not empty")
                predictor.metrics.stage("parse", loop.time() - started)
                spec = _spec(version, signature.name)
                told = predictor.stream(version, signature, inputs, deadline)
                try:
                    async for event in told:
                        response = predict_pb2.PredictResponse(model_spec=spec)
                        for name, value in _outputs(event).items():
                            response.outputs[name].CopyFrom(proto_tensors.from_array(value))
                        await _write(context, response, deadline)
                finally:
                    await told.aclose()

    def _read(
        self, request: predict_pb2.PredictRequest, version: Version
    ) -> tuple[Signature, dict[str, np.ndarray]]:
        """A request's signature, and its inputs."""
        signature = version.model.model.signature(request.model_spec.signature_name)
        inputs = {}
        for name, proto in request.inputs.items():
            if name not in signature.inputs:
                raise invalid(f"signature {signature.name} has no input {name}")
            inputs[name] = proto_tensors.to_array(
                name, proto, signature.inputs[name], self._predictor.limits.request_bytes
            )
        return signature, inputs

    async def metadata(
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        context: grpc.aio.ServicerContext,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURES:
                raise invalid(f"Metadata field {field} is not supported")
        with self._predictor.store.lease(*_model_and_version(request.model_spec)) as version:
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for name, definition in version.model.model.definitions.items():
                signatures.signature_def[name].CopyFrom(definition)
            response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=_spec(version))
        response.metadata[_SIGNATURES].Pack(signatures)
        return response

    async def status(
        self,
        request: get_model_status_pb2.GetModelStatusRequest,
        context: grpc.aio.ServicerContext,
    ) -> get_model_status_pb2.GetModelStatusResponse:
        response = get_model_status_pb2.GetModelStatusResponse()
        for version in self._predictor.store.versions(*_model_and_version(request.model_spec)):
            status = response.model_version_status.add(
                version=version.number, state=_State.Value(version.state)
            )
            if version.error:
                status.status.error_code = 2  # UNKNOWN
                status.status.error_message = version.error
        return response


def _model_and_version(spec: model_pb2.ModelSpec) -> tuple[str, Which]:
    if spec.version_label:
        return spec.name, spec.version_label
    return spec.name, spec.version.value if spec.HasField("version") else None


def _spec(version: Version, signature: str = "") -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=version.name, signature_name=signature)
    spec.version.value = version.number
    return spec


def _outputs(event: Union[Told, End]) -> dict[str, np.ndarray]:
    """An event as tensors: scalars of a token, [B, n] of the end."""
    if isinstance(event, Told):
        numbers = {"prompt": event.prompt, "hypothesis": event.hypothesis}
        numbers.update(index=event.index, token=event.token)
        outputs = {name: np.array(number, np.int64) for name, number in numbers.items()}
        outputs["log_prob"] = np.array(event.log_prob, np.float32)
        texts = event.text
    else:
        rows = event.continuations
        outputs = {
            "lengths": np.array([[one.length for one in row] for row in rows], np.int64),
            "finish_reasons": np.array([[one.finish_reason for one in row] for row in rows]),
        }
        texts = [[one.text for one in row] for row in rows]
    text = np.array(texts, object)
    if text.flat[0] is not None:
        outputs["text" if isinstance(event, Told) else "texts"] = text
    return outputs


async def _write(context: grpc.aio.ServicerContext, response: Message, deadline: float) -> None:
    """Writes a message; waits, if the client is slow.

    Raises:
        ServingError: it is too slow.
    """
    seconds = deadline - asyncio.get_running_loop().time()
    if seconds <= 0.0:
        raise ServingError("DEADLINE_EXCEEDED", "the deadline is over")
    try:
        await asyncio.wait_for(context.write(response.SerializeToString()), seconds)
    except asyncio.TimeoutError:
        raise ServingError("DEADLINE_EXCEEDED", "the client reads too slowly") from None


def _as_text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


async def _abort(context: grpc.aio.ServicerContext, error: ServingError) -> None:
    trailing = ()
    if error.retry_after is not None:
        trailing = (("retry-after", str(error.retry_after)),)
    await context.abort(grpc.StatusCode[error.code], error.message, trailing)
