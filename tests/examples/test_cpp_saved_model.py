"""examples/cpp/saved_model.cc runs what tf_ls.export.save writes, without Python."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "models"))

from small_transformer import INPUTS, build  # noqa: E402

import tf_ls  # noqa: E402
from tf_ls import export  # noqa: E402

OPTIONS = {"eos": 2, "beam_size": 3, "num_hypotheses": 3, "max_length": 7}
LIBRARY = os.environ.get("TF_LS_LIBRARY") or str(Path(tf_ls.__file__).parent / "_tf_ls_ops.so")
TENSORFLOW = tf.sysconfig.get_lib()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++"),
    pytest.mark.skipif(
        not Path(TENSORFLOW, "libtensorflow_cc.so.2").exists(),
        reason="this TensorFlow has no C++ library",
    ),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    output = tmp_path_factory.mktemp("program") / "saved_model"
    command = ["g++", "-std=c++17", *tf.sysconfig.get_compile_flags()]
    command += [str(ROOT / "examples" / "cpp" / "saved_model.cc"), "-o", str(output)]
    command += [f"-L{TENSORFLOW}", f"-Wl,-rpath,{TENSORFLOW}"]
    command += ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"]
    subprocess.run(command, check=True)
    return output


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("model") / "exported")
    export.save(build(), path, options=OPTIONS, start=7)
    return path


def run(*arguments):
    return subprocess.run([*map(str, arguments)], capture_output=True, text=True, timeout=120)


def test_generates_what_python_does(program, exported):
    source = np.asarray(INPUTS["src"][:1], np.int64)
    done = run(program, LIBRARY, exported, *source[0])
    assert done.returncode == 0, done.stderr
    signature = tf.saved_model.load(exported).signatures["serving_default"]
    wanted = {name: part.numpy()[0] for name, part in signature(source=source).items()}
    lines = [line.split(":") for line in done.stdout.splitlines()]
    assert len(lines) == OPTIONS["num_hypotheses"]
    for (score, tokens), *expected in zip(
        lines, wanted["scores"], wanted["tokens"], wanted["lengths"]
    ):
        np.testing.assert_allclose(float(score), expected[0], rtol=1e-5)
        np.testing.assert_array_equal([int(t) for t in tokens.split()], expected[1][: expected[2]])


def test_says_what_is_wrong(program, exported, tmp_path):
    assert "usage" in run(program).stderr
    assert "cannot load /nowhere.so" in run(program, "/nowhere.so", exported, 1).stderr
    assert f"cannot load {tmp_path}" in run(program, LIBRARY, tmp_path, 1).stderr
    assert "cannot generate" in run(program, LIBRARY, exported, 10**6).stderr
