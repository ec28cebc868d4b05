package(default_visibility = ["//visibility:public"])

# Headers and framework library of the TensorFlow that configure.py found.
cc_library(
    name = "tensorflow",
    srcs = ["libtensorflow_framework.so.2"],
    hdrs = glob([
        "include/**/*.h",
        "include/**/*.hpp",
        "include/**/*.inc",
        "include/Eigen/**",
        "include/unsupported/**",
        "include/third_party/eigen3/**",
    ]),
    # What tf.sysconfig.get_compile_flags() adds; its C++ ABI flag is global, in the configuration.
    defines = ["EIGEN_MAX_ALIGN_BYTES=64"],
    includes = ["include"],
)

# All of TensorFlow, for a program in C++.
cc_library(
    name = "tensorflow_cc",
    srcs = ["libtensorflow_cc.so.2"],
    deps = [":tensorflow"],
)
