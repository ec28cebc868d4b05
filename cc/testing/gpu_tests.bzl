"""Tests that are compiled again to run on a GPU."""

def gpu_tests(tests, deps):
    """Declares NAME_gpu for each test NAME, and the filegroup gpu_tests of all of them.

    Compiling them needs a CUDA toolkit, running them the card: see docs/gpu.md.
    """
    for test in tests:
        native.cc_test(
            name = test + "_gpu",
            size = "small",
            srcs = [test + ".cc"],
            copts = ["-DTF_LS_TEST_GPU"],
            tags = ["gpu"],
            deps = deps + [
                "//cc/kernels:gpu_kernels",
                "//cc/testing",
                "//cc/testing:gpu_testing",
                "@gtest//:gtest_main",
            ],
        )
    native.filegroup(
        name = "gpu_tests",
        testonly = 1,
        srcs = [test + "_gpu" for test in tests],
        tags = ["gpu"],
    )
