"""Streams of tokens as server-sent events."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Optional, Union

from aiohttp import web

from tf_ls.serving.errors import ServingError
from tf_ls.serving.token_events import End, Told, as_number

_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # a proxy (nginx) is not to wait for more
}


class EventStream:
    """An answer that consists of events. It begins with the first: before, there may be an error.

    Attributes:
        response: None before it has begun.
    """

    def __init__(self, request: web.Request, deadline: float):
        """Nothing is sent yet.

        Args:
            request: what is answered.
            deadline: by the event loop's clock, by which a slow client must have read.
        """
        self._request, self._deadline = request, deadline
        self.response: Optional[web.StreamResponse] = None

    async def send(self, event: Union[Told, End]) -> None:
        """Sends an event; waits, if the client is slow.

        Raises:
            ServingError: the client has left, or is too slow.
        """
        if isinstance(event, Told):
            await self._send("token", _token(event))
        else:
            await self._send("end", _end(event))

    async def fail(self, error: ServingError) -> None:
        """Ends the stream with an error, if the client still listens."""
        if error.code == "CANCELLED" or self._request.transport is None:
            return
        try:
            await self._send("error", {"error": error.message, "code": error.code}, seconds=1.0)
            await self.response.write_eof()
        except ServingError:
            return

    async def _send(
        self, name: str, content: dict[str, Any], seconds: Optional[float] = None
    ) -> None:
        if seconds is None:
            seconds = self._deadline - asyncio.get_running_loop().time()
        data = f"event: {name}\ndata: {json.dumps(content)}\n\n".encode()
        if seconds <= 0.0:
            raise ServingError("DEADLINE_EXCEEDED", "the deadline is over")
        try:
            await asyncio.wait_for(self._write(data), seconds)
        except asyncio.TimeoutError:
            # What is in front of it was not read, so an error would not be either.
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ServingError("DEADLINE_EXCEEDED", "the client reads too slowly") from None
        except ConnectionError:
            raise ServingError("CANCELLED", "the client has left") from None

    async def _write(self, data: bytes) -> None:
        if self.response is None:
            self.response = web.StreamResponse(headers=_HEADERS)
            await self.response.prepare(self._request)
        await self.response.write(data)


def _token(told: Told) -> dict[str, Any]:
    content = {
        "prompt": told.prompt,
        "hypothesis": told.hypothesis,
        "index": told.index,
        "token": told.token,
        "log_prob": as_number(told.log_prob),
    }
    return content if told.text is None else {**content, "text": told.text}


def _end(end: End) -> dict[str, Any]:
    def content(one: Any) -> dict[str, Any]:
        fields = {"length": one.length, "finish_reason": one.finish_reason}
        return fields if one.text is None else {**fields, "text": one.text}

    continuations = [[content(one) for one in of_prompt] for of_prompt in end.continuations]
    return {"continuations": continuations, "tokens": end.tokens}
