"""Requests that are computed together, with a model that does what a test tells it."""

from __future__ import annotations

import asyncio
import dataclasses
import threading

import pytest

from tf_ls.serving.batch_queue import Budget, Item
from tf_ls.serving.batcher import Batcher
from tf_ls.serving.errors import ServingError, invalid
from tf_ls.serving.limits import Limits
from tf_ls.serving.metrics import Metrics

SOON = 30.0


@dataclasses.dataclass(frozen=True)
class Doubler:
    """Doubles numbers; refuses negative ones; notes what it was given.

    While `gate` is closed a batch runs, until it is cancelled.
    """

    name: str = ""
    batches: list = dataclasses.field(default_factory=list, compare=False)
    gate: threading.Event = dataclasses.field(default_factory=threading.Event, compare=False)
    joins: bool = True

    def run(self, payloads, cancellation):
        self.batches.append(payloads)
        stopped = threading.Event()
        with cancellation.while_running(stopped.set):
            while not self.gate.wait(0.001):
                if stopped.is_set():
                    self.batches.append("stopped")
                    raise RuntimeError("stopped")
        if min(payloads) < 0:
            raise invalid(f"{min(payloads)} is negative")
        if 13 in payloads:
            raise KeyError("a defect")
        return [2 * payload for payload in payloads]


def opened(**more) -> Doubler:
    group = Doubler(**more)
    group.gate.set()
    return group


def batching(test, *, wait=0.0, concurrency=1, budget=Budget(100, 100), limits=Limits()):  # noqa: B008
    async def run():
        metrics = Metrics(budget.tokens)
        batcher = Batcher(
            budget, wait=wait, concurrency=concurrency, limits=limits, metrics=metrics
        )
        await asyncio.wait_for(test(batcher), 60)
        await batcher.close()

    asyncio.run(run())


def submit(batcher, group, *numbers, seconds=SOON):
    deadline = asyncio.get_running_loop().time() + seconds
    items = [Item(number, 1, abs(number)) for number in numbers]
    return asyncio.ensure_future(batcher.submit(group, items, deadline))


async def until(holds):
    while not holds():
        await asyncio.sleep(0.001)


def test_what_waits_while_something_runs_is_joined():
    async def test(batcher):
        group = Doubler()
        requests = [submit(batcher, group, 1)]
        await until(lambda: group.batches)
        requests += [submit(batcher, group, number) for number in (4, 2, 3)]
        await asyncio.sleep(0)
        group.gate.set()
        assert await asyncio.gather(*requests) == [[2], [8], [4], [6]]
        assert group.batches == [[1], [2, 3, 4]]

    batching(test)


def test_the_oldest_waits_for_company():
    async def test(batcher):
        group = opened()
        first = submit(batcher, group, 1)
        await asyncio.sleep(0.01)
        second = submit(batcher, group, 2)
        assert await asyncio.gather(first, second) == [[2], [4]]
        assert group.batches == [[1, 2]]

    batching(test, wait=0.2)


def test_a_full_batch_does_not_wait():
    async def test(batcher):
        group = opened()
        assert await submit(batcher, group, 2, 2, 2) == [4, 4, 4]
        assert group.batches == [[2, 2, 2]]

    batching(test, wait=1000.0, budget=Budget(6, 100))


def test_a_request_is_divided_and_put_together():
    async def test(batcher):
        group = opened()
        numbers = [7, 1, 5, 3, 9, 2]
        assert await submit(batcher, group, *numbers) == [2 * n for n in numbers]
        assert len(group.batches) == 3
        assert sorted(number for batch in group.batches for number in batch) == sorted(numbers)

    batching(test, budget=Budget(100, 2))


def test_groups_are_kept_apart_and_equal_ones_are_not():
    async def test(batcher):
        first, other = opened(), opened(name="other")
        requests = [submit(batcher, g, n) for g, n in ((first, 1), (other, 2), (opened(), 3))]
        assert await asyncio.gather(*requests) == [[2], [4], [6]]
        assert [first.batches, other.batches] == [[[1, 3]], [[2]]]

    batching(test, wait=0.05)


def test_several_at_a_time():
    async def test(batcher):
        groups = [Doubler(name=name) for name in "ab"]
        requests = [submit(batcher, group, 1) for group in groups]
        await until(lambda: all(group.batches for group in groups))
        for group in groups:
            group.gate.set()
        await asyncio.gather(*requests)

    batching(test, concurrency=2)


# Errors ------------------------------------------------------------------------------------------


def test_a_bad_request_does_not_hurt_its_neighbours():
    async def test(batcher):
        group = opened()
        requests = [submit(batcher, group, *numbers) for numbers in ([1, 2], [-3, 4], [5], [13])]
        good, bad, other, defect = await asyncio.gather(*requests, return_exceptions=True)
        assert (good, other) == ([2, 4], [10])
        assert (bad.code, bad.message) == ("INVALID_ARGUMENT", "-3 is negative")
        assert defect.code == "INTERNAL"
        assert "defect" not in defect.message

    batching(test, wait=0.05)


def test_overload():
    async def test(batcher):
        group = Doubler()
        requests = [submit(batcher, group, 1)]
        await until(lambda: group.batches)
        requests += [submit(batcher, group, 1) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(ServingError, match="overloaded: too many sentences wait") as error:
            await submit(batcher, group, 1)
        assert error.value.code == "RESOURCE_EXHAUSTED"
        assert error.value.http_status == 503
        assert error.value.retry_after >= 1
        group.gate.set()
        assert await asyncio.gather(*requests) == [[2]] * 4
        assert await submit(batcher, group, 1) == [2]

    batching(test, limits=Limits(queue_sentences=3))


def test_overload_by_tokens():
    async def test(batcher):
        group = Doubler()
        first = submit(batcher, group, 1)
        await until(lambda: group.batches)
        waiting = submit(batcher, group, 6)
        await asyncio.sleep(0)
        with pytest.raises(ServingError, match="too many tokens wait"):
            await submit(batcher, group, 5)
        group.gate.set()
        await asyncio.gather(first, waiting)

    batching(test, limits=Limits(queue_tokens=10))


def test_overload_by_time():
    async def test(batcher):
        group = Doubler()
        slow = submit(batcher, group, 1)  # at most 20 batches a second
        await asyncio.sleep(0.05)
        group.gate.set()
        await slow
        group.gate.clear()
        running = submit(batcher, group, 1)
        await until(lambda: len(group.batches) == 2)
        waiting = submit(batcher, group, *[1] * 42)
        await asyncio.sleep(0)
        with pytest.raises(ServingError, match="waiting would take too long") as error:
            await submit(batcher, group, 1)
        assert error.value.retry_after >= 2
        group.gate.set()
        await asyncio.gather(running, waiting)

    batching(test, budget=Budget(100, 1), limits=Limits(queue_seconds=2.0))


def test_the_next_batch_may_always_be_filled():
    """However long batches take: who goes with the next one waits for no other."""

    async def test(batcher):
        group = Doubler()
        slow = submit(batcher, group, 1)
        await asyncio.sleep(0.05)
        group.gate.set()
        await slow
        group.gate.clear()
        requests = [submit(batcher, group, number) for number in range(1, 7)]
        await asyncio.sleep(0)
        with pytest.raises(ServingError, match="waiting would take too long"):
            await submit(batcher, group, 7)
        group.gate.set()
        assert await asyncio.gather(*requests) == [[2 * number] for number in range(1, 7)]
        assert group.batches[1:] == [[1], [2, 3, 4, 5], [6]]

    batching(test, budget=Budget(100, 4), limits=Limits(queue_seconds=0.01))


def test_a_burst_may_wait():
    async def test(batcher):
        group = Doubler()
        requests = [submit(batcher, group, 1)]
        await until(lambda: group.batches)
        requests += [submit(batcher, group, number) for number in range(2, 12)]
        await asyncio.sleep(0.01)
        group.gate.set()
        assert await asyncio.gather(*requests) == [[2 * n] for n in range(1, 12)]

    batching(test, budget=Budget(100, 2), limits=Limits(queue_patience=60.0))


async def overloaded(batcher, group):
    """One request runs, and more has been waiting for too long than the next batch takes."""
    requests = [submit(batcher, group, 1)]
    await until(lambda: group.batches)
    requests += [submit(batcher, group, number) for number in (2, 3, 4)]
    await asyncio.sleep(0.05)
    return requests


def test_under_overload_the_oldest_are_refused():
    async def test(batcher):
        group = Doubler()
        requests = await overloaded(batcher, group)
        requests.append(submit(batcher, group, 5))
        for old in requests[1:3]:
            with pytest.raises(ServingError, match="overloaded: more comes") as error:
                await old
            assert error.value.code == "RESOURCE_EXHAUSTED"
            assert error.value.retry_after >= 1
        group.gate.set()
        assert await asyncio.gather(*requests[:1], *requests[3:]) == [[2], [8], [10]]
        assert group.batches == [[1], [4, 5]]

    batching(test, budget=Budget(100, 2), limits=Limits(queue_patience=0.01))


def test_under_overload_what_has_begun_is_finished():
    async def test(batcher):
        group = Doubler()
        begun = submit(batcher, group, 1, 2, 3, 4, 5)
        await until(lambda: group.batches)
        await asyncio.sleep(0.05)
        with pytest.raises(ServingError, match="overloaded: more comes"):
            await submit(batcher, group, 6)
        group.gate.set()
        assert await begun == [2, 4, 6, 8, 10]

    batching(test, budget=Budget(100, 2), limits=Limits(queue_patience=0.01))


def test_under_overload_nobody_is_refused_for_what_is_too_large_itself():
    async def test(batcher):
        group = Doubler()
        requests = await overloaded(batcher, group)
        with pytest.raises(ServingError, match="overloaded: more comes"):
            await submit(batcher, group, 5, 6, 7)
        group.gate.set()
        assert await asyncio.gather(*requests) == [[2], [4], [6], [8]]

    batching(test, budget=Budget(100, 2), limits=Limits(queue_patience=0.01))


# Giving up ---------------------------------------------------------------------------------------


def test_who_leaves_the_queue_is_not_computed():
    async def test(batcher):
        group = Doubler()
        first = submit(batcher, group, 1)
        await until(lambda: group.batches)
        leaving, staying = submit(batcher, group, 2, 3), submit(batcher, group, 4)
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.sleep(0)
        group.gate.set()
        assert await asyncio.gather(first, staying) == [[2], [8]]
        assert group.batches == [[1], [4]]

    batching(test)


def test_a_batch_is_stopped_when_nobody_is_left():
    async def test(batcher):
        group = Doubler()
        requests = [submit(batcher, group, number) for number in (1, 2)]
        await until(lambda: group.batches)
        requests[0].cancel()
        await asyncio.sleep(0.02)
        assert group.batches == [[1, 2]]
        requests[1].cancel()
        await until(lambda: "stopped" in group.batches)
        group.gate.set()
        assert await submit(batcher, group, 3) == [6]

    batching(test, wait=0.05)


@pytest.mark.parametrize("leaves_first", [True, False])
def test_a_batch_is_stopped_when_the_others_have_what_they_wanted(leaves_first):
    """A stream that has had its last token does not keep a batch that somebody else left."""

    async def test(batcher):
        group = Doubler()
        end = asyncio.get_running_loop().time() + SOON
        items = [Item(number, 1, number) for number in (1, 2)]
        requests = [asyncio.ensure_future(batcher.submit(group, [item], end)) for item in items]
        await until(lambda: group.batches)
        steps = [requests[1].cancel, lambda: batcher.satisfy(items[:1])]
        first, second = steps if leaves_first else reversed(steps)
        first()
        await asyncio.sleep(0.02)
        assert group.batches == [[1, 2]]
        second()
        await until(lambda: "stopped" in group.batches)
        with pytest.raises(ServingError, match="given up"):
            await requests[0]

    batching(test, wait=0.05)


def test_who_has_what_it_wanted_does_not_stop_its_batch():
    async def test(batcher):
        group = Doubler()
        item = Item(1, 1, 1)
        end = asyncio.get_running_loop().time() + SOON
        request = asyncio.ensure_future(batcher.submit(group, [item], end))
        await until(lambda: group.batches)
        batcher.satisfy([item])
        await asyncio.sleep(0.02)
        group.gate.set()
        assert await request == [2]

    batching(test)


def test_a_deadline_in_the_queue():
    async def test(batcher):
        group = Doubler()
        first = submit(batcher, group, 1)
        await until(lambda: group.batches)
        with pytest.raises(ServingError, match="the deadline is over") as error:
            await submit(batcher, group, 2, seconds=0.02)
        assert error.value.code == "DEADLINE_EXCEEDED"
        group.gate.set()
        await first
        assert group.batches == [[1]]

    batching(test)


def test_a_deadline_stops_what_runs():
    async def test(batcher):
        group = Doubler()
        with pytest.raises(ServingError, match="the deadline is over"):
            await submit(batcher, group, 1, seconds=0.02)
        await until(lambda: "stopped" in group.batches)

    batching(test)


def test_a_deadline_that_is_over():
    async def test(batcher):
        group = opened()
        with pytest.raises(ServingError, match="the deadline is over"):
            await submit(batcher, group, 1, seconds=0)
        assert not group.batches

    batching(test)


def test_abort():
    async def test(batcher):
        group = Doubler()
        running = submit(batcher, group, 1)
        await until(lambda: group.batches)
        waiting = submit(batcher, group, 2)
        await asyncio.sleep(0)
        batcher.abort()
        for request in (running, waiting):
            with pytest.raises(ServingError, match="shutting down"):
                await request
        await until(lambda: "stopped" in group.batches)

    batching(test)
