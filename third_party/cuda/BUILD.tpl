package(default_visibility = ["//visibility:public"])

exports_files(["root/bin/nvcc"])

# For code that a plain C++ compiler compiles.
cc_library(
    name = "runtime",
    srcs = ["libcudart_static.a"],
    hdrs = glob([
        "root/include/*.h",
        "root/include/*.hpp",
        "root/include/crt/**",
    ]),
    includes = ["root/include"],
    linkopts = [
        "-ldl",
        "-lpthread",
        "-lrt",
    ],
)
