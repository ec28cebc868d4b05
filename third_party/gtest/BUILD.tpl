package(default_visibility = ["//visibility:public"])

cc_library(
    name = "gtest",
    srcs = ["libgtest.a"],
    hdrs = glob(["include/gtest/**"]),
    includes = ["include"],
    linkopts = ["-lpthread"],
)

cc_library(
    name = "gtest_main",
    srcs = ["libgtest_main.a"],
    deps = [":gtest"],
)
