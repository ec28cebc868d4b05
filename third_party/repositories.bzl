"""Repositories made from what is installed on this machine.

configure.py finds the packages and passes their places as --repo_env variables; nothing is
downloaded. Versions are passed too, so that an upgrade in place refreshes the links.
"""

_VARIABLES = [
    "TF_LS_TENSORFLOW_INCLUDE",
    "TF_LS_TENSORFLOW_LIBRARY",
    "TF_LS_TENSORFLOW_CC_LIBRARY",
    "TF_LS_TENSORFLOW_VERSION",
    "TF_LS_ONEDNN_INCLUDE",
    "TF_LS_ONEDNN_LIBRARY",
    "TF_LS_CUDA",
    "TF_LS_CUDA_RUNTIME",
    "TF_LS_GTEST_INCLUDE",
    "TF_LS_GTEST_LIBRARY",
    "TF_LS_GTEST_MAIN_LIBRARY",
    "TF_LS_SENTENCEPIECE_SOURCES",
]

def _installed_package_impl(repository_ctx):
    for variable, link in repository_ctx.attr.links.items():
        path = repository_ctx.os.environ.get(variable, "")
        if not path:
            fail(repository_ctx.attr.how_to_get)
        repository_ctx.symlink(path, link)
    repository_ctx.symlink(repository_ctx.attr.build_file, "BUILD")

_installed_package = repository_rule(
    implementation = _installed_package_impl,
    attrs = {
        "build_file": attr.label(allow_single_file = True, mandatory = True),
        "how_to_get": attr.string(mandatory = True),
        "links": attr.string_dict(
            doc = "From the variable that names a file or folder to its place in the repository.",
            mandatory = True,
        ),
    },
    environ = _VARIABLES,
    local = True,
)

def sentencepiece_repository():
    """Declares @sentencepiece, the only repository that TensorFlow Serving does not have itself."""
    _installed_package(
        name = "sentencepiece",
        build_file = Label("//third_party/sentencepiece:BUILD.tpl"),
        how_to_get = "SentencePiece is not configured: run `python configure.py`.",
        links = {"TF_LS_SENTENCEPIECE_SOURCES": "sentencepiece"},
    )

def installed_repositories():
    """Declares @local_tensorflow, @onednn, @sentencepiece, @cuda and @gtest."""
    _installed_package(
        name = "local_tensorflow",
        build_file = Label("//third_party/local_tensorflow:BUILD.tpl"),
        how_to_get = "TensorFlow is not configured: run `python configure.py` with the Python that has it.",
        links = {
            "TF_LS_TENSORFLOW_INCLUDE": "include",
            "TF_LS_TENSORFLOW_LIBRARY": "libtensorflow_framework.so.2",
            "TF_LS_TENSORFLOW_CC_LIBRARY": "libtensorflow_cc.so.2",
        },
    )
    _installed_package(
        name = "onednn",
        build_file = Label("//third_party/onednn:BUILD.tpl"),
        how_to_get = "oneDNN is not configured: run `python configure.py`.",
        links = {
            "TF_LS_ONEDNN_INCLUDE": "include",
            "TF_LS_ONEDNN_LIBRARY": "libdnnl.so.3",
        },
    )
    sentencepiece_repository()
    _installed_package(
        name = "cuda",
        build_file = Label("//third_party/cuda:BUILD.tpl"),
        how_to_get = "CUDA is not configured: name the folder of a CUDA toolkit in TF_LS_CUDA and run " +
                     "`python configure.py` again.",
        links = {
            "TF_LS_CUDA": "root",
            "TF_LS_CUDA_RUNTIME": "libcudart_static.a",
        },
    )
    _installed_package(
        name = "gtest",
        build_file = Label("//third_party/gtest:BUILD.tpl"),
        how_to_get = "GoogleTest is not configured: install it (Debian and Ubuntu: " +
                     "apt-get install libgtest-dev) and run `python configure.py` again.",
        links = {
            "TF_LS_GTEST_INCLUDE": "include/gtest",
            "TF_LS_GTEST_LIBRARY": "libgtest.a",
            "TF_LS_GTEST_MAIN_LIBRARY": "libgtest_main.a",
        },
    )
