"""Which sentences go together."""

import random

import pytest

from tf_ls.serving.batch_queue import BatchQueue, Budget, Item


def filled(*lengths, group="group"):
    queue = BatchQueue()
    for length in lengths:
        queue.add(group, Item(length, 1, length))
    return queue


def taken(queue, **budget):
    _, items = queue.take(Budget(**{"tokens": 1000, "sentences": 1000, **budget}))
    return [item.payload for item in items]


def test_a_batch_is_sorted_by_length():
    queue = filled(3, 1, 2)
    assert taken(queue) == [1, 2, 3]
    assert len(queue) == queue.sentences == queue.tokens == 0


def test_a_batch_has_the_oldest_and_the_nearest_in_length():
    queue = filled(5, 1, 9, 6, 4, 5)
    assert taken(queue, sentences=4) == [4, 5, 5, 6]
    assert taken(queue, sentences=4) == [1, 9]


def test_how_many_batches_are_needed():
    queue = filled(5, 1, 9)
    for sentences, tokens, batches in ((3, 15, 1), (2, 15, 2), (3, 14, 2), (1, 1, 15)):
        assert queue.batches(Budget(tokens, sentences)) == batches
    queue.add("other options", Item(2, 1, 2))
    assert queue.batches(Budget(30, 4)) == 2
    queue.take(Budget(30, 4))
    assert queue.batches(Budget(30, 4)) == 1


@pytest.mark.parametrize(
    ("tokens", "batch"), [(1, [5]), (9, [5]), (10, [4, 5]), (15, [4, 4, 5]), (23, [4, 4, 5])]
)
def test_padding_counts(tokens, batch):
    assert taken(filled(5, 4, 4, 6), tokens=tokens) == batch


def test_what_is_larger_than_a_batch_goes_alone():
    queue = filled(50, 1)
    assert taken(queue, tokens=10) == [50]
    assert taken(queue, tokens=10) == [1]


def test_sentences_that_stay_together_count_as_many():
    queue = BatchQueue()
    for sentences in (2, 3, 2):
        queue.add("group", Item(sentences, sentences, 4))
    assert (queue.sentences, queue.tokens) == (7, 28)
    assert taken(queue, sentences=5) == [2, 3]


def test_groups_are_kept_apart():
    queue = filled(1, group="a")
    queue.add("b", Item(2, 1, 2))
    queue.add("a", Item(3, 1, 3))
    assert queue.take(Budget(100, 100))[0] == "a"
    assert [queue.oldest()[0], len(queue)] == ["b", 1]


def test_what_is_taken_out_does_not_come():
    queue = filled(1, 2)
    _, item = queue.oldest()
    queue.remove(item)
    queue.remove(item)
    assert (queue.sentences, queue.tokens) == (1, 2)
    assert taken(queue) == [2]


def test_fills():
    queue = filled(4, 4)
    assert queue.fills("group", Budget(8, 10))
    assert queue.fills("group", Budget(100, 2))
    assert not queue.fills("group", Budget(9, 3))


def test_everything_comes_once_and_within_the_budget():
    draw = random.Random(0)
    budget = Budget(tokens=40, sentences=6)
    queue, wanted, found = BatchQueue(), [], []
    for number in range(2000):
        item = Item(number, draw.choice([1, 1, 1, 3]), draw.randint(0, 60))
        queue.add(draw.choice("ab"), item)
        wanted.append(number)
        while len(queue) > draw.randint(0, 60):
            _, oldest = queue.oldest()
            _, items = queue.take(budget)
            assert oldest in items
            found += [item.payload for item in items]
            if len(items) > 1:
                sentences = sum(item.sentences for item in items)
                assert sentences <= budget.sentences
                assert sentences * max(item.length for item in items) <= budget.tokens
    while len(queue):
        found += taken(queue)
    assert sorted(found) == wanted
    assert queue.sentences == queue.tokens == 0
