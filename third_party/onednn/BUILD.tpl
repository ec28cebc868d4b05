package(default_visibility = ["//visibility:public"])

# oneDNN as the wheels onednn-cpu-gomp and onednn-devel-cpu-gomp ship it: one library on GNU
# OpenMP, whose thread count is set through <omp.h>.
cc_library(
    name = "onednn",
    srcs = ["libdnnl.so.3"],
    hdrs = glob([
        "include/dnnl*",
        "include/oneapi/dnnl/**",
    ]),
    includes = ["include"],
    linkopts = ["-lgomp"],
)
