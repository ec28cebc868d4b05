"""Stopping what runs in another thread."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tf_ls.inference.cancellation import Cancellation, Cancelled, call


def test_what_runs_is_stopped_once_and_only_while_it_runs():
    stopped = []
    cancellation = Cancellation()
    with cancellation.while_running(lambda: stopped.append("first")):
        pass
    with cancellation.while_running(lambda: stopped.append("second")):
        cancellation.cancel()
    assert stopped == ["second"]
    assert cancellation.cancelled


def test_what_has_not_begun_does_not_begin():
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(Cancelled), cancellation.while_running(lambda: None):
        raise AssertionError("it has begun")


@pytest.mark.parametrize("cancellation", [None, Cancellation()], ids=["for good", "stoppable"])
def test_a_call_returns_what_the_function_does(cancellation):
    function = tf.function(lambda x: {"y": 2 * x}).get_concrete_function(x=tf.TensorSpec([]))
    assert call(function, {"x": tf.constant(3.0)}, cancellation)["y"].numpy() == 6.0
