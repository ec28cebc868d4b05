"""Thousands of mixed requests, each checked against its own answer."""

import asyncio

import pytest
from models_to_serve import Unbatched
from traffic import Clients


@pytest.fixture(scope="module")
def clients(server, models):
    return Clients(server.rest, server.grpc, Unbatched(models / "ids"))


def check(server, clients, count):
    batches = server.metric("tf_ls_batch_sentences_count")
    sentences = server.metric("tf_ls_batch_sentences_sum")
    outcomes = asyncio.run(clients.send(count, clients=24, seed=count))
    assert not outcomes.wrong
    assert outcomes.kinds.keys() == {"OK", "INVALID_ARGUMENT"}
    assert sum(outcomes.kinds.values()) == count
    batches = server.metric("tf_ls_batch_sentences_count") - batches
    sentences = server.metric("tf_ls_batch_sentences_sum") - sentences
    assert sentences / batches > 2  # they did share batches
    assert server.metric("tf_ls_requests_in_flight") == 0
    assert server.metric("tf_ls_queue_sentences") == 0


def test_two_thousand_requests(server, clients):
    check(server, clients, 2000)


@pytest.mark.slow
def test_ten_thousand_requests(server, clients):
    check(server, clients, 10_000)
