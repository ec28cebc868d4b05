"""The pytest fixture, in tests of a user's."""

import pytest
from my_cases import case

pytest_plugins = ["tf_ls.testing.plugin", "pytester"]


def test_built_in_operation(operation_check):
    operation_check("layer_norm", dtypes=["float32"], samples=2)


def test_own_operation(operation_check):
    operation_check(case(), samples=2)


def test_failure_is_the_report_without_a_traceback(operation_check):
    broken = case(operation=lambda x, gain: x, dtypes=["float32"], devices=["CPU"])
    with pytest.raises(pytest.fail.Exception, match="FAILED gated, float32, CPU, seed 0") as raised:
        operation_check(broken)
    assert not raised.value.pytrace


def test_in_a_project_of_its_own(pytester):
    pytester.makeconftest('pytest_plugins = ["tf_ls.testing.plugin"]')
    pytester.makepyfile(
        """
        from my_cases import case

        def test_right(operation_check):
            operation_check(case(), samples=1)

        def test_wrong(operation_check):
            operation_check(case(operation=lambda x, gain: x), samples=1)
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*FAILED gated, float32, CPU, seed 0*"])
    result.stdout.no_fnmatch_line("*Traceback*")
