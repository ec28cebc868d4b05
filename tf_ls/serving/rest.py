"""TensorFlow Serving's REST interface, a list of models, and what watches a server."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
import logging
from typing import Any, Callable, Optional

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from google.protobuf.json_format import MessageToDict

from tf_ls.serving import json_tensors
from tf_ls.serving.answering import answering
from tf_ls.serving.errors import ServingError, internal, invalid
from tf_ls.serving.loaded_model import Signature
from tf_ls.serving.model_store import Version, Which
from tf_ls.serving.page_files import Page
from tf_ls.serving.predictor import Predictor
from tf_ls.serving.rest_stream import EventStream
from tf_ls.serving.security import check_token

log = logging.getLogger(__name__)

TIMEOUT_HEADER = "X-Request-Timeout-Ms"

_MODEL = "/v1/models/{name:[^/:]+}"
_VERSION = _MODEL + r"/versions/{version:\d+}"
_LABEL = _MODEL + "/labels/{label:[^/:]+}"

# Fields without a value are written too; the name of that option has changed.
_ALL_FIELDS = next(
    name
    for name in ("always_print_fields_with_no_presence", "including_default_value_fields")
    if name in inspect.signature(MessageToDict).parameters
)


class Rest:
    """The handlers of a server's HTTP side."""

    def __init__(
        self,
        predictor: Predictor,
        *,
        token: Optional[str],
        ready: Callable[[], bool],
        read_timeout: float,
        page: Optional[Page] = None,
    ):
        """Starts nothing.

        Args:
            predictor: answers predictions.
            token: that all requests need but those about health; None: none.
            ready: whether new requests are welcome.
            read_timeout: seconds in which a request's body must arrive.
            page: for people, who need no token to see it; None: none.
        """
        self._predictor, self._token, self._ready = predictor, token, ready
        self._read_timeout = read_timeout
        self._page = page
        self._open_paths = {"/healthz", "/readyz", *(page.paths if page is not None else ())}

    def application(self) -> web.Application:
        application = web.Application(
            client_max_size=self._predictor.limits.request_bytes, middlewares=[self._errors]
        )
        application.add_routes(
            [
                web.get("/healthz", self._health),
                web.get("/readyz", self._readiness),
                web.get("/metrics", self._metrics),
                web.get("/v1/models", self._models),
                *[
                    route
                    for path in (_MODEL, _VERSION, _LABEL)
                    for route in (
                        web.get(path, self._status),
                        web.get(f"{path}/metadata", self._metadata),
                        web.post(f"{path}:predict", self._predict),
                        web.post(f"{path}:stream", self._stream),
                        web.post(path + ":{verb:classify|regress}", self._unimplemented),
                    )
                ],
            ]
        )
        if self._page is not None:
            application.add_routes(self._page.routes())
        return application

    @web.middleware
    async def _errors(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Makes answers of errors, and lets nobody in without the token."""
        try:
            if request.path not in self._open_paths:
                check_token(self._token, request.headers.get("Authorization", ""))
            return await handler(request)
        except ServingError as error:
            return _error(error)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            malformed = invalid(f"Malformed request: {request.method} {request.path}")
            if not request.path.startswith("/v1/"):
                malformed.http_status = 404
            return _error(malformed)
        except web.HTTPException as error:
            return _json({"error": error.reason}, error.status)
        except Exception:
            log.exception("a request failed")
            return _error(internal())

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readiness(self, request: web.Request) -> web.Response:
        ready = self._ready()
        return web.Response(
            text="ready\n" if ready else "not ready\n", status=200 if ready else 503
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            body=self._predictor.metrics.exposition(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def _models(self, request: web.Request) -> web.Response:
        store = self._predictor.store
        models = [
            {"name": name, "versions": [_version_status(v) for v in store.versions(name)]}
            for name in store.names
        ]
        return _json({"models": models, "limits": dataclasses.asdict(self._predictor.limits)})

    async def _status(self, request: web.Request) -> web.Response:
        versions = self._predictor.store.versions(*_model_and_version(request))
        return _json({"model_version_status": [_version_status(version) for version in versions]})

    async def _metadata(self, request: web.Request) -> web.Response:
        with self._predictor.store.lease(*_model_and_version(request)) as version:
            definitions = version.model.model.definitions
            signatures = {
                name: MessageToDict(
                    definition, preserving_proto_field_name=True, **{_ALL_FIELDS: True}
                )
                for name, definition in definitions.items()
            }
            spec = {"name": version.name, "signature_name": "", "version": str(version.number)}
        return _json(
            {
                "model_spec": spec,
                "metadata": {"signature_def": {"signature_def": signatures}},
            }
        )

    async def _predict(self, request: web.Request) -> web.Response:
        predictor, metrics = self._predictor, self._predictor.metrics
        loop = asyncio.get_running_loop()
        with answering(predictor, "rest", "predict") as account:
            deadline = predictor.deadline(_timeout(request))
            name, number = _model_and_version(request)
            with predictor.store.lease(name, number) as version:
                account.model, account.version = version.name, version.number
                signature, form, inputs = await self._read(request, version)
                outputs = await predictor.predict(version, signature, inputs, deadline)
                started = loop.time()
                answer = json_tensors.write_outputs(form, outputs)
                metrics.stage("answer", loop.time() - started)
            return web.Response(body=answer, content_type="application/json")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        predictor = self._predictor
        events = None
        try:
            with answering(predictor, "rest", "stream") as account:
                deadline = predictor.deadline(_timeout(request))
                with predictor.store.lease(*_model_and_version(request)) as version:
                    account.model, account.version = version.name, version.number
                    signature, _, inputs = await self._read(request, version)
                    events = EventStream(request, deadline)
                    told = predictor.stream(version, signature, inputs, deadline)
                    try:
                        async for event in told:
                            await events.send(event)
                    finally:
                        await told.aclose()
        except ServingError as error:
            if events is None or events.response is None:
                raise
            await events.fail(error)
        return events.response

    async def _read(
        self, request: web.Request, version: Version
    ) -> tuple[Signature, str, dict[str, Any]]:
        """A request's signature, the form of its inputs, and these."""
        body = await self._body(request)
        loop = asyncio.get_running_loop()
        started = loop.time()
        document = json_tensors.parse(body)
        signature = version.model.model.signature(json_tensors.signature_name(document))
        form, inputs = json_tensors.read_inputs(
            document, signature, lambda name: version.model.is_ragged(signature.name, name)
        )
        self._predictor.metrics.stage("parse", loop.time() - started)
        return signature, form, inputs

    async def _body(self, request: web.Request) -> bytes:
        try:
            return await asyncio.wait_for(request.read(), self._read_timeout)
        except asyncio.TimeoutError:
            raise ServingError(
                "DEADLINE_EXCEEDED", "the request came too slowly", http_status=408
            ) from None
        except web.HTTPRequestEntityTooLarge:
            limit = self._predictor.limits.request_bytes
            raise ServingError(
                "INVALID_ARGUMENT", f"the request has more than {limit} bytes", http_status=413
            ) from None
        except (web.RequestPayloadError, HttpProcessingError):
            raise invalid("the request's body is not what its headers say") from None

    async def _unimplemented(self, request: web.Request) -> web.Response:
        verb = request.match_info["verb"]
        raise ServingError("UNIMPLEMENTED", f"{verb} is not served; predict and stream are")


def _model_and_version(request: web.Request) -> tuple[str, Which]:
    if "label" in request.match_info:
        return request.match_info["name"], request.match_info["label"]
    version = request.match_info.get("version")
    if version is not None and len(version) > 18:
        raise invalid(f"Failed to convert version: {version[:20]}... to numeric.")
    return request.match_info["name"], None if version is None else int(version)


def _timeout(request: web.Request) -> Optional[float]:
    """Seconds that the client will wait."""
    text = request.headers.get(TIMEOUT_HEADER)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) > 0):
        raise invalid(f"{TIMEOUT_HEADER} must be a number of milliseconds, got {text[:20]!r}")
    return int(text) / 1000


def _version_status(version: Version) -> dict[str, Any]:
    code = "UNKNOWN" if version.error else "OK"
    return {
        "version": str(version.number),
        "state": version.state,
        "status": {"error_code": code, "error_message": version.error},
    }


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(
        text=json.dumps(content, indent=1), status=status, content_type="application/json"
    )


def _error(error: ServingError) -> web.Response:
    response = _json({"error": error.message}, error.http_status)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.code == "UNAUTHENTICATED":
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
