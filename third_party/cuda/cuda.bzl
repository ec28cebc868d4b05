"""Compiles CUDA code."""

def _code_flags(architectures, virtual):
    # One pass of the compiler's front end, which takes most of the time, for each generation of GPUs: what it
    # makes for 8.0 is assembled for 8.6, too. Features of 9.0a alone, say, need a pass of their own.
    codes = {}
    for architecture in architectures:
        generation = [int(a) for a in architectures if a.isdigit() and a[:-1] == architecture[:-1]]
        front = str(min(generation)) if architecture.isdigit() else architecture
        codes[front] = codes.get(front, []) + ["sm_" + architecture]
    for architecture in virtual:
        codes[architecture] = codes.get(architecture, []) + ["compute_" + architecture]
    return [
        "-gencode=arch=compute_%s,code=[%s]" % (front, ",".join(made))
        for front, made in codes.items()
    ]

def _cuda_objects_impl(ctx):
    contexts = [dep[CcInfo].compilation_context for dep in ctx.attr.deps]
    headers = depset(ctx.files.hdrs, transitive = [context.headers for context in contexts])
    flags = _code_flags(
        architectures = ctx.var.get("tf_ls_cuda_architectures", "75,80,86,90").split(","),
        virtual = ctx.var.get("tf_ls_cuda_ptx", "75,90").split(","),
    )
    objects = []
    for src in ctx.files.srcs:
        object = ctx.actions.declare_file(src.basename.split(".")[0] + ".cu.pic.o")
        objects.append(object)
        ctx.actions.run(
            executable = ctx.file._nvcc,
            arguments = ["-x", "cu", "-c", src.path, "-o", object.path, "-I.", "-std=c++17", "-O3"] + flags + [
                "-Xcompiler=-fPIC,-fvisibility=hidden,-Wall",
                "--Werror=all-warnings",
            ],
            inputs = depset([src], transitive = [headers]),
            outputs = [object],
            # nvcc finds the C++ compiler and its own parts by the path.
            use_default_shell_env = True,
            mnemonic = "CudaCompile",
            progress_message = "Compiling " + src.short_path,
        )
    return [DefaultInfo(files = depset(objects))]

cuda_objects = rule(
    implementation = _cuda_objects_impl,
    doc = "Object files of CUDA sources, for the `srcs` of a cc_library.",
    attrs = {
        "deps": attr.label_list(providers = [CcInfo], doc = "Libraries whose headers are included."),
        "hdrs": attr.label_list(allow_files = [".h"]),
        "srcs": attr.label_list(allow_files = [".cu.cc"]),
        "_nvcc": attr.label(default = "@cuda//:root/bin/nvcc", allow_single_file = True),
    },
)
