"""Checks operations, those of tf_ls or your own, against references on random inputs.

    python -m tf_ls.testing                      # all operations of tf_ls, with times
    python -m tf_ls.testing --cases my_ops.py    # your own

docs/testing.md describes both, and the pytest fixture.
"""

from tf_ls.testing.case import Case
from tf_ls.testing.cases import BUILT_IN
from tf_ls.testing.checking import check
from tf_ls.testing.comparison import TOLERANCES, assert_close, relative_error
from tf_ls.testing.runner import Result, run

__all__ = [
    "BUILT_IN",
    "TOLERANCES",
    "Case",
    "Result",
    "assert_close",
    "check",
    "relative_error",
    "run",
]
