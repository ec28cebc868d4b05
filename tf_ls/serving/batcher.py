"""Requests of many clients, computed together."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import math
from collections.abc import Hashable, Sequence
from typing import Any, Optional, Protocol

from tf_ls.inference.cancellation import Cancellation
from tf_ls.serving.batch_queue import BatchQueue, Budget, Item
from tf_ls.serving.errors import ServingError, internal
from tf_ls.serving.limits import Limits
from tf_ls.serving.metrics import Metrics
from tf_ls.serving.overload import Overload

log = logging.getLogger(__name__)

# Seconds in a queue that somebody would notice.
_NOTICED = 0.1


class Group(Hashable, Protocol):
    """What can be computed together; equal groups are."""

    joins: bool
    """Whether anything else could come that is equal."""

    def run(self, payloads: list[Any], cancellation: Cancellation) -> list[Any]:
        """Computes a batch, in another thread: as many results as payloads.

        Raises:
            ServingError: the message is for each client of the batch.
        """


class Batcher:
    """Runs batches of what waits, `concurrency` at a time; all methods are for the event loop.

    A request is answered when all its items are, whichever batches they were in. One whose client
    has left, or whose deadline is over, is taken out of the queue, and a batch in which nobody's
    item is left is stopped. A batch that fails is run again, each of its requests alone, so that
    none fails for another's sake.

    Under overload no more waits than the next batches take, and it is the oldest request that is
    refused for a new one: batches are as full as with the newest refused, and those who are
    answered have waited less.
    """

    def __init__(
        self, budget: Budget, *, wait: float, concurrency: int, limits: Limits, metrics: Metrics
    ):
        """Starts nothing yet.

        Args:
            budget: the largest batch.
            wait: seconds that the oldest item waits for company, if nothing runs.
            concurrency: batches that run at a time.
            limits: of what waits.
            metrics: are told what happens.
        """
        self._budget, self._wait, self._concurrency = budget, wait, concurrency
        self._limits, self._metrics = limits, metrics
        self._queue = BatchQueue()
        self._overload = Overload(limits.queue_patience)
        self._running: set[_Batch] = set()
        self._requests: set[_Request] = set()
        self._tasks: set[asyncio.Task] = set()
        self._timer: Optional[asyncio.TimerHandle] = None
        self._batch_seconds = 0.0  # that a batch takes, a running mean
        self._threads = concurrent.futures.ThreadPoolExecutor(
            concurrency, thread_name_prefix="model"
        )

    async def submit(self, group: Group, items: Sequence[Item], deadline: float) -> list[Any]:
        """Returns the items' results, in their order. Cancelling it gives the request up.

        Args:
            group: what they may be computed with.
            items: new ones.
            deadline: by the event loop's clock.

        Raises:
            ServingError: the queue is full, the deadline is over, the model failed.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._check_room(items, now)
        request = _Request(items, loop.create_future())
        if deadline <= now:
            raise _too_late()
        self._requests.add(request)
        for item in items:
            item.owner, item.arrived = request, now
            self._queue.add(group, item)
        self._shed(request, now)
        timer = loop.call_at(deadline, request.fail, _too_late())
        self._dispatch()
        try:
            return await request.future
        finally:
            timer.cancel()
            self._requests.discard(request)
            self._give_up(request)

    def satisfy(self, items: Sequence[Item]) -> None:
        """Says that a request's items, all of them, need not be answered any more: it has what it
        wanted. What runs goes on for those who wait, and otherwise to its end, which is near."""
        for item in items:
            item.satisfied = True
        self._stop_unwanted()

    def abort(self) -> None:
        """Fails all requests, and stops what runs."""
        for request in self._requests:
            request.fail(ServingError("UNAVAILABLE", "the server is shutting down"))

    async def close(self) -> None:
        """Waits for what runs; call it when nothing more comes."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._threads.shutdown(wait=False)

    def _check_room(self, items: Sequence[Item], now: float) -> None:
        if not len(self._queue):
            return  # A request that is larger than the whole queue has its chance, too.
        limits, queue = self._limits, self._queue
        seconds = self._seconds_of_queue()
        sentences = queue.sentences + sum(item.sentences for item in items)
        tokens = queue.tokens + sum(item.tokens for item in items)
        for reason, count, most in (
            ("too many sentences wait", sentences, limits.queue_sentences),
            ("too many tokens wait", tokens, limits.queue_tokens),
            ("waiting would take too long", seconds, limits.queue_seconds),
        ):
            if count > most:
                self._overload.refused(now)
                raise _overloaded(reason, seconds)

    def _is_crowded(self) -> bool:
        """Whether more waits than the next batches take, and for long enough to be noticed."""
        rounds = self._rounds()
        seconds = rounds * self._batch_seconds if self._batch_seconds else math.inf
        return rounds > 1 and seconds > _NOTICED

    def _rounds(self) -> int:
        """How often the next batches have to run until what waits is computed."""
        return math.ceil(self._queue.batches(self._budget) / self._concurrency)

    def _seconds_of_queue(self) -> float:
        """How long what comes now waits, by what batches took so far; the next ones have room."""
        return max(self._rounds() - 1, 0) * self._batch_seconds

    def _shed(self, newest: _Request, now: float) -> None:
        """Under overload refuses the oldest requests, of which nothing has run, until few wait.

        If the newest is too much by itself, it is the one.
        """
        self._overload.observe(self._is_crowded(), now)
        if not (self._is_crowded() and self._overload.lasts(now)):
            return
        owners = self._queue.owners()
        if owners == [newest]:
            return  # As in _check_room.
        older = [owner for owner in owners if not (owner.begun or owner is newest)]
        if sum(item.sentences for item in newest.items) > self._budget.sentences:
            older = []
        for request in [*older, newest]:
            reason = "more comes than can be computed"
            request.fail(_overloaded(reason, self._seconds_of_queue()))
            for item in request.items:
                self._queue.remove(item)
            self._overload.refused(now)
            if not self._is_crowded():
                return

    def _dispatch(self) -> None:
        """Starts batches, as many as may run; or sees to it that it is called again."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while len(self._queue) and len(self._running) < self._concurrency:
            group, oldest = self._queue.oldest()
            due = oldest.arrived + self._wait
            if group.joins and loop.time() < due and not self._queue.fills(group, self._budget):
                self._timer = loop.call_at(due, self._dispatch)
                break
            batch = _Batch(*self._queue.take(self._budget))
            for item in batch.items:
                item.owner.begun = True
            self._running.add(batch)
            task = loop.create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._overload.observe(self._is_crowded(), loop.time())
        self._tell()

    def _tell(self) -> None:
        self._metrics.queue(self._queue.sentences, self._queue.tokens, len(self._running))

    async def _run(self, batch: _Batch) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            await self._run_together(batch)
        finally:
            seconds = loop.time() - started
            if not batch.cancellation.cancelled:
                mean = self._batch_seconds or seconds
                self._batch_seconds = 0.8 * mean + 0.2 * seconds
            self._metrics.batch(
                [item.sentences for item in batch.items],
                sum(item.tokens for item in batch.items),
                [started - item.arrived for item in batch.items],
                seconds,
                cancelled=batch.cancellation.cancelled,
            )
            self._running.discard(batch)
            self._dispatch()

    async def _run_together(self, batch: _Batch) -> None:
        error = await self._attempt(batch)
        if error is None:
            return
        of_request: dict[_Request, list[Item]] = {}
        for item in batch.items:
            if item.is_wanted:
                of_request.setdefault(item.owner, []).append(item)
            else:
                item.owner.fail(error)
        if len(of_request) == 1:
            next(iter(of_request)).fail(error)
            return
        for request, items in of_request.items():
            if request.future.done():
                continue
            alone = _Batch(batch.group, items)
            self._running.add(alone)  # where giving up finds it
            self._running.discard(batch)
            error = await self._attempt(alone)
            self._running.add(batch)
            self._running.discard(alone)
            if error is not None:
                request.fail(error)

    async def _attempt(self, batch: _Batch) -> Optional[ServingError]:
        """Runs a batch and hands out its results; returns why it failed."""
        payloads = [item.payload for item in batch.items]
        try:
            results = await asyncio.get_running_loop().run_in_executor(
                self._threads, batch.group.run, payloads, batch.cancellation
            )
        except Exception as error:
            if batch.cancellation.cancelled:
                return ServingError("CANCELLED", "given up")
            if isinstance(error, ServingError):
                return error
            log.exception("a batch failed")
            return internal()
        for item, result in zip(batch.items, results):
            item.owner.deliver(item, result)
        return None

    def _give_up(self, request: _Request) -> None:
        """Forgets what was not answered of a request."""
        if request.complete:
            return
        request.future.cancel()
        for item in request.items:
            self._queue.remove(item)
        self._tell()
        self._stop_unwanted()

    def _stop_unwanted(self) -> None:
        for batch in self._running:
            if any(item.is_wanted for item in batch.items):
                continue
            if not all(item.satisfied for item in batch.items):
                batch.cancellation.cancel()


class _Request:
    """The items of one request, and what became of them."""

    def __init__(self, items: Sequence[Item], future: asyncio.Future):
        self.items, self.future = items, future
        self.begun = False  # an item has left the queue for a batch
        self._results: dict[Item, Any] = {}

    @property
    def complete(self) -> bool:
        return len(self._results) == len(self.items)

    def deliver(self, item: Item, result: Any) -> None:
        if self.future.done():
            return
        self._results[item] = result
        if self.complete:
            self.future.set_result([self._results[item] for item in self.items])

    def fail(self, error: ServingError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Batch:
    """Items that run together."""

    def __init__(self, group: Group, items: list[Item]):
        self.group, self.items = group, items
        self.cancellation = Cancellation()


def _overloaded(reason: str, seconds: float) -> ServingError:
    """seconds: that it will take what waits."""
    retry_after = min(max(math.ceil(seconds), 1), 60)
    return ServingError("RESOURCE_EXHAUSTED", f"overloaded: {reason}", retry_after=retry_after)


def _too_late() -> ServingError:
    return ServingError("DEADLINE_EXCEEDED", "the deadline is over")
