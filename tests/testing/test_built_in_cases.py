"""The operations of tf_ls agree with their references, as `python -m tf_ls.testing` says."""

import numpy as np
import pytest

from tf_ls import ops
from tf_ls.testing import BUILT_IN, inputs
from tf_ls.testing.timing import time_case

CASES = pytest.mark.parametrize("case", BUILT_IN, ids=lambda case: case.name)

pytest_plugins = ["tf_ls.testing.plugin"]


@CASES
def test_agrees(case, operation_check):
    operation_check(case, samples=3)


@CASES
def test_seeds_of_a_run_draw_nothing_and_several_rows(case):
    drawn = [inputs.draw(case.make_inputs, "float32", seed)[0] for seed in range(10)]
    sizes = [np.prod(inputs.main_tensor(sample).shape) for sample in drawn]
    assert min(sizes) == 0
    assert max(sizes) > 10


@CASES
def test_timing(case):
    times = time_case(case, "float32", "CPU", seed=0, seconds=0.0)
    assert times.forward > 0.0
    assert (times.both is None) != case.gradients
    assert (times.stock_forward is None) == (case.stock is None)
    assert (times.stock_both is None) == (case.stock is None or not case.gradients)


def test_every_operation_has_a_case():
    functions = {name for name in ops.__all__ if name.islower()} - {"random_seed"}
    layouts = {"pack_layouts", "dense_layout"}
    assert (functions - layouts) | {"layout"} == {case.name for case in BUILT_IN}
