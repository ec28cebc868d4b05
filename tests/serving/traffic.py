"""Many clients, over both protocols, who check every answer against their own."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import random
from typing import Any, Callable, Optional

import aiohttp
import grpc
import numpy as np
import tensorflow as tf
from models_to_serve import EOS, VARIETY, Unbatched, sentences
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

POOL = sentences(60, 11)


@dataclasses.dataclass
class Outcomes:
    """What became of requests: how many of each kind, and what was wrong with answers."""

    kinds: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    wrong: list[str] = dataclasses.field(default_factory=list)


class Clients:
    """Clients of a model from ids to ids."""

    def __init__(
        self,
        rest: str,
        grpc_address: str,
        unbatched: Unbatched,
        *,
        model: str = "ids",
        token: Optional[str] = None,
        certificate: Any = None,
        credentials: Optional[grpc.ChannelCredentials] = None,
    ):
        self._rest, self._grpc, self._unbatched, self._model = rest, grpc_address, unbatched, model
        self._token, self._certificate, self._credentials = token, certificate, credentials

    async def send(
        self,
        count: int,
        *,
        clients: int,
        seed: int,
        outcomes: Optional[Outcomes] = None,
        until: Callable[[], bool] = lambda: False,
    ) -> Outcomes:
        """Sends requests, each client one after the other, until all are or `until` holds.

        What becomes of them is counted, in `outcomes` if it is given, as it comes.
        """
        draw = random.Random(seed)
        outcomes = Outcomes() if outcomes is None else outcomes
        remaining = iter(range(count))
        if self._credentials is None:
            channel = grpc.aio.insecure_channel(self._grpc)
        else:
            channel = grpc.aio.secure_channel(self._grpc, self._credentials)
        connector = aiohttp.TCPConnector(limit=0)
        async with channel, aiohttp.ClientSession(connector=connector) as session:
            predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict

            async def client() -> None:
                for _ in remaining:
                    if until():
                        return
                    rows = draw.choices(POOL, k=draw.choice([1, 1, 1, 2, 5]))
                    options = draw.choice(VARIETY[:-1])
                    kind = draw.randrange(20)
                    if kind == 0:
                        rows = [*rows, (99,)]
                    send = self._over_rest if draw.random() < 0.5 else self._over_grpc
                    via = session if send == self._over_rest else predict
                    try:
                        outcome, outputs = await send(via, rows, options)
                    except (aiohttp.ClientError, ConnectionError, asyncio.TimeoutError) as error:
                        outcome, outputs = f"no answer: {type(error).__name__}", None
                    outcomes.kinds[outcome] += 1
                    if (outcome == "OK") == (kind == 0):
                        if kind == 0 or outcome == "INVALID_ARGUMENT":
                            outcomes.wrong.append(f"{rows} {options}: {outcome}")
                    elif outputs is not None:
                        outcomes.wrong += self._differences(rows, options, outputs)

            await asyncio.gather(*[client() for _ in range(clients)])
        return outcomes

    async def _over_rest(self, session, rows, options) -> tuple[str, Optional[dict]]:
        scheme = "http" if self._certificate is None else "https"
        inputs = {"source": rows, **options}
        async with session.post(
            f"{scheme}://{self._rest}/v1/models/{self._model}:predict",
            json={"signature_name": "serving_with_options", "inputs": inputs},
            ssl=self._certificate if self._certificate is not None else True,
            headers={} if self._token is None else {"Authorization": f"Bearer {self._token}"},
        ) as response:
            answer = await response.json()
            if response.status == 200:
                return "OK", answer["outputs"]
            assert list(answer) == ["error"]
            return {400: "INVALID_ARGUMENT", 503: "UNAVAILABLE"}[response.status], None

    async def _over_grpc(self, predict, rows, options) -> tuple[str, Optional[dict]]:
        source = np.zeros([len(rows), max(map(len, rows))], np.int64)
        for place, row in zip(source, rows):
            place[: len(row)] = row
        message = predict_pb2.PredictRequest()
        message.model_spec.name = self._model
        message.model_spec.signature_name = "serving_with_options"
        for name, value in {"source": source, **options}.items():
            dtype = tf.string if isinstance(value, str) else tf.int64
            message.inputs[name].CopyFrom(tf.make_tensor_proto(value, dtype))
        metadata = [] if self._token is None else [("authorization", f"Bearer {self._token}")]
        try:
            response = await predict(message, timeout=60, metadata=metadata)
        except grpc.RpcError as error:
            code = error.code().name
            # A connection that breaks is UNAVAILABLE, too.
            return code if code != "UNAVAILABLE" else "no answer: UNAVAILABLE", None
        return "OK", {name: tf.make_ndarray(value) for name, value in response.outputs.items()}

    def _differences(self, rows, options, outputs) -> list[str]:
        wrong = []
        for index, row in enumerate(rows):
            wanted = self._unbatched.generate(row, **options)
            tokens = np.asarray(outputs["tokens"][index])
            width = wanted["tokens"].shape[1]
            same = (
                np.array_equal(tokens[:, :width], wanted["tokens"])
                and (tokens[:, width:] == EOS).all()
                and np.array_equal(outputs["lengths"][index], wanted["lengths"])
                and np.allclose(outputs["scores"][index], wanted["scores"], rtol=1e-5)
            )
            if not same:
                wrong.append(f"{row} {options}: {tokens.tolist()}")
        return wrong
