#!/usr/bin/env python3
"""Finds what tf_ls is built with and writes it down for Bazel.

    python configure.py [--python PATH] [--output FILE]

TensorFlow is asked for its own flags, in a clean subprocess of the Python that has it. oneDNN comes
from the wheels onednn-cpu-gomp and onednn-devel-cpu-gomp, GoogleTest (for `bazel test` only) from
the system. SentencePiece's source distribution is downloaded with pip, once for all checkouts. The
result, .tf_ls_configure.bazelrc, is imported by .bazelrc.

Environment variables that override what is found:
    TF_LS_PYTHON         the Python whose TensorFlow is built against
    TF_LS_BAZEL          the bazel or bazelisk to use
    TF_LS_ONEDNN         folder with include/dnnl.h and lib/libdnnl.so.3
    TF_LS_SENTENCEPIECE  the source distribution of SentencePiece, for machines without a network
    TF_LS_CUDA           folder of a CUDA toolkit; empty: build for CPUs only
    TF_LS_OUTPUT_BASE    where Bazel keeps what it has built
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Optional

WORKSPACE = Path(__file__).resolve().parent
DEFAULT_OUTPUT = WORKSPACE / ".tf_ls_configure.bazelrc"

OLDEST_PYTHON, NEWEST_PYTHON = (3, 9), (3, 12)
OLDEST_TENSORFLOW, NEWEST_TENSORFLOW = (2, 12), (2, 21)
OLDEST_TENSORFLOW_FOR_GPU = (2, 18)  # the first with cuDNN 9
NEWEST_BAZEL = 7
# The last source distribution that brings the libraries along that it needs.
SENTENCEPIECE_VERSION = "0.2.1"
SENTENCEPIECE_SHA256 = "8138cec27c2f2282f4a34d9a016e3374cd40e5c6e9cb335063db66a0a3b71fad"

# Distributions that contain the module `tensorflow`.
TENSORFLOW_DISTRIBUTIONS = ("tensorflow", "tensorflow-cpu", "tensorflow-gpu", "intel-tensorflow")

# What stands in for the repositories that Debian's Bazel would download.
DEBIAN_INSTALL_BASE = Path("/usr/share/bazel")
DEBIAN_REPOSITORIES = {
    "rules_cc": WORKSPACE / "third_party/rules_cc",
    "remote_coverage_tools": WORKSPACE / "third_party/coverage_tools",
    "rules_java": DEBIAN_INSTALL_BASE / "rules/java",
    "rules_proto": DEBIAN_INSTALL_BASE / "rules/proto",
    "bazel_skylib": DEBIAN_INSTALL_BASE / "tools/skylib",
    "platforms": DEBIAN_INSTALL_BASE / "tools/platforms",
}
DEBIAN_PACKAGES = "bazel-bootstrap bazel-rules-java bazel-rules-proto bazel-skylib bazel-platforms"

# Run by the Python that has TensorFlow; the last line of its output is JSON. TensorFlow, slow to
# import, is imported only if asked for.
_PROBE = r"""
import json, sys
from importlib import metadata

found = {"python": list(sys.version_info[:2]), "distribution": None, "version": None}
for name in sys.argv[1].split():
    try:
        found["version"] = metadata.version(name)
    except metadata.PackageNotFoundError:
        continue
    found["distribution"] = name
    break
found["onednn_files"] = []
for name in ("onednn-cpu-gomp", "onednn-devel-cpu-gomp"):
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        continue
    for file in distribution.files or []:
        if file.name in ("dnnl.h", "libdnnl.so.3"):
            found["onednn_files"].append(str(distribution.locate_file(file).resolve()))
if "import" in sys.argv[2:]:
    import tensorflow as tf
    found["version"] = tf.__version__
    found["include"] = tf.sysconfig.get_include()
    found["library_folder"] = tf.sysconfig.get_lib()
    found["compile_flags"] = tf.sysconfig.get_compile_flags()
    found["link_flags"] = tf.sysconfig.get_link_flags()
print()
print(json.dumps(found))
"""


class ConfigurationError(Exception):
    """Something that the build needs is missing or does not fit; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class TensorFlow:
    """An installed TensorFlow; the fields after `python` are known once it was imported."""

    distribution: str
    version: str
    python: str
    include: str = ""
    library: str = ""
    cxx11_abi: int = 1

    @property
    def minor(self) -> tuple[int, int]:
        return version_pair(self.version)

    @property
    def requirement(self) -> str:
        """What a wheel built against it depends on, e.g. "tensorflow-cpu>=2.21,<2.22"."""
        major, minor = self.minor
        return f"{self.distribution}>={major}.{minor},<{major}.{minor + 1}"


@dataclasses.dataclass(frozen=True)
class OneDnn:
    include: str
    library: str


@dataclasses.dataclass(frozen=True)
class Cuda:
    root: str
    runtime: str  # libcudart_static.a


@dataclasses.dataclass(frozen=True)
class Bazel:
    path: str
    version: Optional[tuple[int, int]]  # None: Debian's, which does not tell

    @property
    def is_debian(self) -> bool:
        return self.version is None


def version_pair(version: str) -> tuple[int, int]:
    """(2, 21) of "2.21.0-rc1"."""
    match = re.match(r"(\d+)\.(\d+)", version)
    if not match:
        raise ConfigurationError(f"Cannot read the version number {version!r}.")
    return int(match.group(1)), int(match.group(2))


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def clean_environment() -> dict[str, str]:
    """The environment without what pip's build isolation puts in front of the user's packages."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE")
    return {
        name: value
        for name, value in os.environ.items()
        if name not in hidden and not name.startswith("PIP_")
    }


def _probe(python: str, *, import_tensorflow: bool) -> dict:
    command = [python, "-c", _PROBE, " ".join(TENSORFLOW_DISTRIBUTIONS)]
    if import_tensorflow:
        command.append("import")
    try:
        result = subprocess.run(
            command,
            env=dict(clean_environment(), TF_CPP_MIN_LOG_LEVEL="3"),
            cwd="/",  # Python puts the current folder on the path of `-c`.
            capture_output=True,
            text=True,
        )
    except OSError as error:
        raise ConfigurationError(f"Cannot run {python}: {error.strerror}.") from error
    if result.returncode != 0:
        raise ConfigurationError(
            f"Importing TensorFlow with {python} failed; mend that installation first:\n"
            + result.stderr[-2000:]
        )
    return json.loads(result.stdout.strip().splitlines()[-1])


def find_python() -> str:
    """The Python whose packages the user means: not the one of an isolated build environment."""
    candidates = [sys.executable]
    if os.environ.get("VIRTUAL_ENV"):
        candidates.append(os.path.join(os.environ["VIRTUAL_ENV"], "bin", "python"))
    if os.environ.get("TF_LS_PYTHON"):
        candidates = [os.environ["TF_LS_PYTHON"]]
    for python in candidates:
        if _probe(python, import_tensorflow=False)["distribution"]:
            return python
    return candidates[0]


def find_tensorflow(python: str, *, import_it: bool = True) -> TensorFlow:
    """The TensorFlow of `python`. Without importing it, only its name and version (quick)."""
    found = _probe(python, import_tensorflow=False)
    supported = f"{_dotted(OLDEST_TENSORFLOW)} to {_dotted(NEWEST_TENSORFLOW)}"
    if not OLDEST_PYTHON <= tuple(found["python"]) <= NEWEST_PYTHON:
        raise ConfigurationError(
            f"tf_ls supports Python {_dotted(OLDEST_PYTHON)} to {_dotted(NEWEST_PYTHON)}, but"
            f" {python} is Python {_dotted(tuple(found['python']))}: use another interpreter."
        )
    if not found["distribution"]:
        raise ConfigurationError(
            f"TensorFlow is not installed for {python}, and tf_ls is built against the one that"
            f" will run it: `{python} -m pip install tensorflow-cpu` (or tensorflow; {supported})"
            " first. If it is installed for another Python, name that one in TF_LS_PYTHON."
        )
    if not OLDEST_TENSORFLOW <= version_pair(found["version"]) <= NEWEST_TENSORFLOW:
        raise ConfigurationError(
            f"tf_ls supports TensorFlow {supported}, but {python} has {found['version']}:"
            f" `{python} -m pip install '{found['distribution']}"
            f">={_dotted(OLDEST_TENSORFLOW)},<2.{NEWEST_TENSORFLOW[1] + 1}'`."
        )
    if not import_it:
        return TensorFlow(found["distribution"], found["version"], python)

    found = _probe(python, import_tensorflow=True)
    library = Path(found["library_folder"]) / "libtensorflow_framework.so.2"
    if not library.exists():
        raise ConfigurationError(
            f"TensorFlow {found['version']} of {python} has no {library}: tf_ls is built on Linux,"
            " against TensorFlow's own wheels."
        )
    abi = [f for f in found["compile_flags"] if f.startswith("-D_GLIBCXX_USE_CXX11_ABI=")]
    return TensorFlow(
        distribution=found["distribution"],
        version=found["version"],
        python=python,
        include=found["include"],
        library=str(library),
        cxx11_abi=int(abi[-1].split("=")[1]) if abi else 1,
    )


def find_onednn(python: str) -> OneDnn:
    """oneDNN of TF_LS_ONEDNN, of this process (pip's build requirements), or of `python`."""
    if os.environ.get("TF_LS_ONEDNN"):
        prefix = Path(os.environ["TF_LS_ONEDNN"])
        files = [prefix / "include/dnnl.h", prefix / "lib/libdnnl.so.3"]
    else:
        files = _onednn_files_of_this_process()
        if len(files) < 2:
            files = [Path(f) for f in _probe(python, import_tensorflow=False)["onednn_files"]]
    by_name = {file.name: file for file in files if file.exists()}
    if "dnnl.h" not in by_name or "libdnnl.so.3" not in by_name:
        what = "libraries" if "dnnl.h" in by_name else "headers"
        raise ConfigurationError(
            f"oneDNN's {what} were not found: `{python} -m pip install onednn-cpu-gomp==2023.2.0"
            " onednn-devel-cpu-gomp==2023.2.0`, or name the folder of an oneDNN 3 built with GNU"
            " OpenMP in TF_LS_ONEDNN."
        )
    # dnnl.h is found twice, as include/dnnl.h and include/oneapi/dnnl/dnnl.h.
    include = by_name["dnnl.h"].parent
    if include.name == "dnnl":
        include = include.parent.parent
    return OneDnn(include=str(include), library=str(by_name["libdnnl.so.3"]))


def _onednn_files_of_this_process() -> list[Path]:
    files = []
    for name in ("onednn-cpu-gomp", "onednn-devel-cpu-gomp"):
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        for file in distribution.files or []:
            if file.name in ("dnnl.h", "libdnnl.so.3"):
                files.append(Path(distribution.locate_file(file)).resolve())
    return files


def find_sentencepiece(python: str) -> str:
    """The folder of SentencePiece's C++ sources, which is made at the first call.

    They are of the source distribution that TF_LS_SENTENCEPIECE names, or that pip downloads.
    """
    sources = cache_folder() / f"sentencepiece-{SENTENCEPIECE_VERSION}"
    if not sources.exists():
        sources.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=sources.parent) as name:
            folder = Path(name)
            named = os.environ.get("TF_LS_SENTENCEPIECE")
            archive = Path(named) if named else _download_sentencepiece(python, folder)
            _unpack_sentencepiece(archive, folder)
            # All at once: another build may be looking.
            try:
                (folder / sources.name / "sentencepiece").rename(sources)
            except OSError:
                if not sources.exists():
                    raise
    return str(sources)


def _download_sentencepiece(python: str, folder: Path) -> Path:
    requirement = folder / "requirement.txt"
    requirement.write_text(
        f"sentencepiece=={SENTENCEPIECE_VERSION} --hash=sha256:{SENTENCEPIECE_SHA256}\n"
    )
    command = [python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-binary=sentencepiece", "--require-hashes"]
    command += [f"--requirement={requirement}", f"--dest={folder}"]
    # What says where packages come from is not part of pip's build isolation.
    settings = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("PIP_") and not name.endswith("_TRACKER")
    }
    result = subprocess.run(
        command,
        env={**clean_environment(), **settings},
        cwd="/",
        capture_output=True,
        text=True,
    )
    archives = list(folder.glob("*.tar.gz"))
    if result.returncode != 0 or not archives:
        raise ConfigurationError(
            f"pip could not download SentencePiece's source distribution: get {_SENTENCEPIECE_FILE}"
            " from PyPI and name it in TF_LS_SENTENCEPIECE. pip says:\n" + result.stderr[-2000:]
        )
    return archives[0]


_SENTENCEPIECE_FILE = f"sentencepiece-{SENTENCEPIECE_VERSION}.tar.gz"


def _unpack_sentencepiece(archive: Path, folder: Path) -> None:
    try:
        content = archive.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"TF_LS_SENTENCEPIECE={archive}: {error.strerror}.") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != SENTENCEPIECE_SHA256:
        raise ConfigurationError(
            f"{archive} is not {_SENTENCEPIECE_FILE} of PyPI: its SHA-256 must be"
            f" {SENTENCEPIECE_SHA256}, but it is {digest}."
        )
    with tarfile.open(archive) as tar:
        tar.extractall(folder)


def find_cuda(tensorflow: TensorFlow) -> Optional[Cuda]:
    """The toolkit of TF_LS_CUDA, of nvcc on the path, or in its usual place.

    None where there is none, where TF_LS_CUDA is empty, or where TensorFlow is older than what the
    GPU code needs.
    """
    if tensorflow.minor < OLDEST_TENSORFLOW_FOR_GPU:
        return None
    named = os.environ.get("TF_LS_CUDA")
    if named == "":
        return None
    nvcc = shutil.which("nvcc")
    roots = [Path(nvcc).resolve().parent.parent] if nvcc else []
    roots = [Path(named)] if named else [*roots, Path("/usr/local/cuda")]
    for root in roots:
        for folder in ("lib64", "targets/x86_64-linux/lib", "lib"):
            runtime = root / folder / "libcudart_static.a"
            if (root / "bin/nvcc").exists() and runtime.exists():
                return Cuda(root=str(root), runtime=str(runtime))
    if named:
        raise ConfigurationError(
            f"TF_LS_CUDA={named} is no CUDA toolkit with bin/nvcc and libcudart_static.a. Name one,"
            " or set TF_LS_CUDA to nothing to build for CPUs only."
        )
    return None


def find_bazel() -> Bazel:
    how_to_get = (
        f"install it (Debian and Ubuntu: apt-get install {DEBIAN_PACKAGES}; elsewhere: bazelisk,"
        " https://github.com/bazelbuild/bazelisk), or name it in TF_LS_BAZEL"
    )
    path = os.environ.get("TF_LS_BAZEL") or shutil.which("bazel") or shutil.which("bazelisk")
    if not path:
        raise ConfigurationError(f"Bazel is not installed: {how_to_get}.")
    try:
        output = subprocess.run(
            [path, "--version"],
            cwd=WORKSPACE,
            capture_output=True,
            text=True,
        )
    except OSError as error:
        raise ConfigurationError(f"Cannot run {path}: {error.strerror}; {how_to_get}.") from error
    if output.returncode != 0:
        raise ConfigurationError(
            f"`{path} --version` failed:\n{output.stderr.strip()}\nMend it or {how_to_get}."
        )
    if "no_version" in output.stdout:
        missing = [str(p) for p in DEBIAN_REPOSITORIES.values() if not p.exists()]
        if missing:
            raise ConfigurationError(
                f"Debian's Bazel lacks {', '.join(missing)}: apt-get install {DEBIAN_PACKAGES}."
            )
        return Bazel(path, None)
    version = version_pair(output.stdout.split()[-1])
    if not 4 <= version[0] <= NEWEST_BAZEL:
        raise ConfigurationError(
            f"tf_ls builds with Bazel 4 to {NEWEST_BAZEL}, but {path} is {_dotted(version)}: use"
            " bazelisk, which takes the version named in .bazeliskrc, or name another Bazel in"
            " TF_LS_BAZEL."
        )
    return Bazel(path, version)


def find_gtest() -> dict[str, str]:
    """GoogleTest's places by the name of their variable; empty if it is not installed."""
    for prefix in ("/usr", "/usr/local"):
        headers = Path(prefix) / "include/gtest"
        for library in sorted(Path(prefix).glob("lib*/libgtest.a")) + sorted(
            Path(prefix).glob("lib/*/libgtest.a")
        ):
            main = library.with_name("libgtest_main.a")
            if headers.is_dir() and main.exists():
                return {
                    "TF_LS_GTEST_INCLUDE": str(headers),
                    "TF_LS_GTEST_LIBRARY": str(library),
                    "TF_LS_GTEST_MAIN_LIBRARY": str(main),
                }
    return {}


def output_base(tensorflow: TensorFlow) -> Path:
    """One Bazel output base for each checkout and TensorFlow minor version.

    Going from one TensorFlow to another thus rebuilds nothing.
    """
    if os.environ.get("TF_LS_OUTPUT_BASE"):
        return Path(os.environ["TF_LS_OUTPUT_BASE"]).resolve()
    checkout = hashlib.sha256(str(WORKSPACE).encode()).hexdigest()[:12]
    return cache_folder() / "bazel" / f"{checkout}-tf{_dotted(tensorflow.minor)}"


def disk_cache() -> Path:
    """What every output base may take from another: compiled files, by the compiler's version.

    Bazel does not look at the compiler itself.
    """
    compiler = os.environ.get("CC", "gcc")
    version = subprocess.run(
        [compiler, "-dumpfullversion", "-dumpversion"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return cache_folder() / "bazel" / f"compiled-{Path(compiler).name}-{version}"


def cache_folder() -> Path:
    """What can be made again, and is shared by checkouts."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tf_ls"


def bazelrc(
    tensorflow: TensorFlow,
    onednn: OneDnn,
    sentencepiece: str,
    cuda: Optional[Cuda],
    bazel: Bazel,
) -> str:
    """The text of the generated configuration."""
    variables = {
        "TF_LS_TENSORFLOW_INCLUDE": tensorflow.include,
        "TF_LS_TENSORFLOW_LIBRARY": tensorflow.library,
        "TF_LS_TENSORFLOW_CC_LIBRARY": str(
            Path(tensorflow.library).with_name("libtensorflow_cc.so.2")
        ),
        "TF_LS_TENSORFLOW_VERSION": tensorflow.version,
        "TF_LS_ONEDNN_INCLUDE": onednn.include,
        "TF_LS_ONEDNN_LIBRARY": onednn.library,
        "TF_LS_SENTENCEPIECE_SOURCES": sentencepiece,
        **find_gtest(),
    }
    if cuda:
        variables |= {"TF_LS_CUDA": cuda.root, "TF_LS_CUDA_RUNTIME": cuda.runtime}
    lines = [
        f"# Written by configure.py for TensorFlow {tensorflow.version} of {tensorflow.python}.",
        f'startup --output_base="{output_base(tensorflow)}"',
        f'build --disk_cache="{disk_cache()}"',
    ]
    lines += [f'build --repo_env={name}="{value}"' for name, value in variables.items()]
    # Said in either case: another configuration of this checkout may have been read before.
    lines.append(f"build --define=tf_ls_cuda={'true' if cuda else 'false'}")
    if tensorflow.cxx11_abi != 1:  # 1 is every supported compiler's default.
        lines.append(f"build --cxxopt=-D_GLIBCXX_USE_CXX11_ABI={tensorflow.cxx11_abi}")
    if bazel.is_debian:
        lines += [f'build --override_repository={n}="{p}"' for n, p in DEBIAN_REPOSITORIES.items()]
    elif bazel.version >= (6, 0):
        lines.append("common --noenable_bzlmod")
    return "\n".join(lines) + "\n"


def find_all(
    python: Optional[str] = None,
) -> tuple[TensorFlow, OneDnn, str, Optional[Cuda], Bazel]:
    """What the build needs; the string is the folder of SentencePiece's sources.

    Raises:
        ConfigurationError: if something is missing or does not fit.
    """
    if sys.platform != "linux":
        raise ConfigurationError("tf_ls is built on Linux only.")
    compiler = os.environ.get("CC", "gcc")
    if not shutil.which(compiler):
        raise ConfigurationError(
            f"The C++ compiler {compiler} was not found: install one (Debian and Ubuntu:"
            " apt-get install g++)."
        )
    bazel = find_bazel()
    tensorflow = find_tensorflow(python or find_python())
    return (
        tensorflow,
        find_onednn(tensorflow.python),
        find_sentencepiece(tensorflow.python),
        find_cuda(tensorflow),
        bazel,
    )


def write_bazelrc(
    output: Path,
    tensorflow: TensorFlow,
    onednn: OneDnn,
    sentencepiece: str,
    cuda: Optional[Cuda],
    bazel: Bazel,
) -> None:
    """Writes the generated configuration, unless it is there already."""
    text = bazelrc(tensorflow, onednn, sentencepiece, cuda, bazel)
    output.parent.mkdir(parents=True, exist_ok=True)
    if not output.exists() or output.read_text() != text:
        output.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", help="the Python that has TensorFlow (default: this one)")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="file to write")
    arguments = parser.parse_args()
    try:
        tensorflow, onednn, sentencepiece, cuda, bazel = find_all(arguments.python)
    except ConfigurationError as error:
        sys.exit(f"configure.py: {error}")
    write_bazelrc(arguments.output, tensorflow, onednn, sentencepiece, cuda, bazel)
    print(f"TensorFlow     {tensorflow.version} ({tensorflow.distribution}) of {tensorflow.python}")
    print(f"oneDNN         {onednn.library}")
    print(f"SentencePiece  {sentencepiece}")
    print(f"CUDA           {cuda.root if cuda else 'none: for CPUs only'}")
    print(f"Bazel          {bazel.path}{' (Debian)' if bazel.is_debian else ''}")
    gtest = find_gtest().get("TF_LS_GTEST_LIBRARY", "not found (only for bazel test)")
    print(f"GoogleTest     {gtest}")
    print(f"Written        {arguments.output}")


if __name__ == "__main__":
    main()
