"""Builds the wheel: the Python package, and the operation library that Bazel makes for it.

pip builds in an environment of its own, which hides the user's TensorFlow; configure.py asks for it
in a clean subprocess. Everything static is in pyproject.toml.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # pip does not put a project's own folder on the path.

import configure  # noqa: E402

LIBRARY_TARGET = "//tf_ls:_tf_ls_ops.so"
LIBRARY = "_tf_ls_ops.so"
# Makes NeurST pick tf_ls up; Python reads it at the root of site-packages only.
NEURST_HOOK = ROOT / "tf_ls" / "neurst" / "tf_ls_neurst.pth"

_BUILD_INFO = '''"""What this copy of tf_ls was built for; written by setup.py."""

TENSORFLOW_VERSION = "{tensorflow.version}"
TENSORFLOW_DISTRIBUTION = "{tensorflow.distribution}"
CXX11_ABI = {tensorflow.cxx11_abi}
'''


def _fail(error: configure.ConfigurationError) -> None:
    # Without a traceback: pip shows the last lines, and they should be the message.
    sys.exit(f"\nCannot build tf_ls: {error}\n")


def build_library(package: Path) -> None:
    """Builds the operation library and puts it, with oneDNN, into the folder `package`."""
    try:
        tensorflow, onednn, sentencepiece, cuda, bazel = configure.find_all()
    except configure.ConfigurationError as error:
        _fail(error)
    rc = ROOT / "build" / f"tf{tensorflow.minor[0]}.{tensorflow.minor[1]}.bazelrc"
    configure.write_bazelrc(rc, tensorflow, onednn, sentencepiece, cuda, bazel)
    command = [bazel.path, f"--bazelrc={rc}"]
    environment = configure.clean_environment()
    print(f"Building {LIBRARY_TARGET} for TensorFlow {tensorflow.version}", flush=True)
    if subprocess.run([*command, "build", LIBRARY_TARGET], cwd=ROOT, env=environment).returncode:
        _fail(
            configure.ConfigurationError(
                "Bazel failed, see its messages above (`pip install -v .` shows them all)."
            )
        )
    bazel_bin = subprocess.run(
        [*command, "info", "bazel-bin"],
        cwd=ROOT,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.strip()

    package.mkdir(parents=True, exist_ok=True)
    _replace(Path(bazel_bin) / "tf_ls" / LIBRARY, package / LIBRARY)
    _replace(Path(onednn.library), package / "libdnnl.so.3")
    notices = Path(onednn.library).parent.parent / "share/doc/onednn/THIRD-PARTY-PROGRAMS"
    if notices.exists():
        _replace(notices, package / "libdnnl.THIRD-PARTY-PROGRAMS")
    licenses = sorted(Path(sentencepiece).rglob("LICENSE"))
    (package / "sentencepiece.LICENSES").write_text(
        "\n".join(f"{file.parent.name}\n\n{file.read_text()}" for file in licenses)
    )
    (package / "_build_info.py").write_text(_BUILD_INFO.format(tensorflow=tensorflow))


def _replace(source: Path, target: Path) -> None:
    # Never written in place: a process may have the old library mapped.
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if ".so" in target.name else 0o644)


class BuildPy(build_py):
    """Adds the library and NeurST's hook to the package."""

    def run(self) -> None:
        if self.editable_mode:
            # The package stays where it is; only the hook goes to site-packages.
            build_library(ROOT / "tf_ls")
            site_packages = Path(self.get_finalized_command("install").install_lib)
        else:
            shutil.rmtree(self.build_lib, ignore_errors=True)  # Else removed files would linger.
            super().run()
            site_packages = Path(self.build_lib)
            build_library(site_packages / "tf_ls")
        site_packages.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(NEURST_HOOK, site_packages / NEURST_HOOK.name)


class BdistWheel(bdist_wheel):
    """Tags the wheel for this platform and any Python: the library does not use Python's ABI."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


class BinaryDistribution(Distribution):
    def has_ext_modules(self) -> bool:
        return True


def requirements() -> tuple[list[str], dict[str, list[str]]]:
    """Dependencies and extras; TensorFlow's minor version is the one that is built against."""
    required = ["absl-py", "h5py", "numpy", "packaging", "tqdm"]
    neurst = ["neurst==0.1.2", "scipy", "tensorboard"]
    serving = ["aiohttp>=3.9", "grpcio>=1.49", "prometheus_client"]
    convert = ["ml_dtypes", "safetensors"]
    pipeline = [*convert, "sentencepiece", "tokenizers"]
    extras = {"neurst": neurst, "serving": serving, "convert": convert, "pipeline": pipeline}
    # A source distribution, and setuptools' look at the project before it, know no TensorFlow.
    # The commands that make a wheel do not go on without one.
    if {"sdist", "egg_info", "clean"} & set(sys.argv[1:2]) or not sys.argv[1:]:
        return required, extras
    try:
        tensorflow = configure.find_tensorflow(configure.find_python(), import_it=False)
    except configure.ConfigurationError as error:
        _fail(error)
    required.append(tensorflow.requirement)
    major, minor = tensorflow.minor
    if minor >= 16:  # tf.keras is Keras 3 from here on, and NeurST is written for Keras 2.
        neurst.append(f"tf_keras>={major}.{minor},<{major}.{minor + 1}")
    # Its messages are compiled for the Protocol Buffers of one TensorFlow.
    serving.append(f"tensorflow-serving-api=={major}.{minor}.*")
    return required, extras


os.chdir(ROOT)
install_requires, extras_require = requirements()
setup(
    cmdclass={"build_py": BuildPy, "bdist_wheel": BdistWheel},
    distclass=BinaryDistribution,
    install_requires=install_requires,
    extras_require=extras_require,
)
