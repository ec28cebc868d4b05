package(default_visibility = ["//visibility:public"])

# SentencePiece without its trainer, from the source distribution that configure.py has fetched.
#
# It brings old parts of Protocol Buffers and Abseil along, which must never meet TensorFlow's. Their folders
# are on the path of this target's files alone (copts, not includes), and their namespaces have names that
# nobody else's have, as has its own: even where both are linked into one library, no symbol of one can stand for the other's.
cc_library(
    name = "sentencepiece",
    srcs = [
        "sentencepiece/src/bpe_model.cc",
        "sentencepiece/src/builtin_pb/sentencepiece.pb.cc",
        "sentencepiece/src/builtin_pb/sentencepiece_model.pb.cc",
        "sentencepiece/src/char_model.cc",
        "sentencepiece/src/error.cc",
        "sentencepiece/src/filesystem.cc",
        "sentencepiece/src/model_factory.cc",
        "sentencepiece/src/model_interface.cc",
        "sentencepiece/src/normalizer.cc",
        "sentencepiece/src/sentencepiece_processor.cc",
        "sentencepiece/src/unigram_model.cc",
        "sentencepiece/src/util.cc",
        "sentencepiece/src/word_model.cc",
        "sentencepiece/third_party/absl/flags/flag.cc",
        "@tf_ls//third_party/sentencepiece:config.h",
    ] + glob(
        [
            "sentencepiece/src/**/*.h",
            "sentencepiece/third_party/**/*.h",
            "sentencepiece/third_party/**/*.inc",
            "sentencepiece/third_party/protobuf-lite/*.cc",
        ],
        exclude = ["sentencepiece/src/sentencepiece_processor.h"],
    ),
    # Included as "sentencepiece/src/sentencepiece_processor.h".
    hdrs = ["sentencepiece/src/sentencepiece_processor.h"],
    copts = [
        "-w",
        # Reads unaligned numbers, on purpose.
        "-fno-sanitize=undefined",
        "-pthread",
        "-Iexternal/sentencepiece/sentencepiece",
        "-Iexternal/sentencepiece/sentencepiece/src/builtin_pb",
        "-Iexternal/sentencepiece/sentencepiece/third_party/protobuf-lite",
        "-Ithird_party/sentencepiece",
        # As part of another workspace.
        "-Iexternal/tf_ls/third_party/sentencepiece",
    ],
    linkopts = ["-lpthread"],
    local_defines = [
        "Darts=tf_ls_sentencepiece_darts",
        "FLAGS_help=tf_ls_sentencepiece_help",
        "FLAGS_minloglevel=tf_ls_sentencepiece_minloglevel",
        "FLAGS_version=tf_ls_sentencepiece_version",
        "HAVE_PTHREAD=1",
        "_USE_INTERNAL_STRING_VIEW",
        "absl=tf_ls_sentencepiece_absl",
        "protobuf=tf_ls_sentencepiece_protobuf",
        "sentencepiece=tf_ls_sentencepiece",
    ],
)
