"""python -m tf_ls.testing: what it prints, and its exit status."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from tf_ls.testing.command_line import main

MY_CASES = str(Path(__file__).parent / "my_cases.py")
BROKEN = """
from my_cases import case, gated
CASES = [
    case(stock=gated),
    case("broken", lambda x, gain: gated(x, gain) * (2 if x.shape[-1] % 2 else 1), stock=gated),
]
"""


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "broken_cases.py"
    path.write_text(BROKEN)
    return str(path)


def test_table(capsys):
    assert main(["--cases", MY_CASES, "--samples", "3"]) == 0
    printed = capsys.readouterr()
    head, _, *rows = [line for line in printed.out.splitlines() if line.startswith("|")]
    assert re.findall(r"[^|]*\w", head.replace("| ", "|"))[:3] == ["operation", "dtype", "device"]
    for name in ("forward error", "gradient error", "forward ms", "+ backward ms", "x stock"):
        assert f"| {name} " in head
    assert [row.split()[1:6:2] for row in rows][:3] == [
        ["gated", "float32", "CPU"],
        ["gated", "bfloat16", "CPU"],
        ["gated", "float16", "CPU"],
    ]
    assert "against the float64 reference" in printed.out
    assert "stock TensorFlow operations" in printed.out
    assert "[1/" in printed.err  # progress
    assert "gated, float32, CPU" in printed.err


def test_without_timing(capsys):
    assert main(["--cases", MY_CASES, "--samples", "2", "--no-timing"]) == 0
    head = capsys.readouterr().out.splitlines()[0]
    assert "forward error" in head
    assert "ms" not in head


def test_failure(capsys, broken):
    options = ["--cases", broken, "--dtypes", "float32", "--devices", "CPU", "--no-timing"]
    assert main([*options, "--samples", "8", "--seed", "5"]) == 1
    output = capsys.readouterr().out
    (row,) = [line for line in output.splitlines() if line.startswith("| broken")]
    assert "FAILED" in row
    (row,) = [line for line in output.splitlines() if line.startswith("| gated")]
    assert "FAILED" not in row
    again = re.findall(r"again: python -m tf_ls.testing (.*)", output)
    assert 0 < len(again) < 8
    for command in again[:2]:
        assert main(command.split()) == 1
        assert f"again: python -m tf_ls.testing {command}" in capsys.readouterr().out


def test_only_some(capsys, broken):
    options = ["--cases", broken, "--no-timing", "--samples", "1"]
    assert main([*options, "--operations", "gated", "--dtypes", "float16"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row.split()[1:4:2] for row in rows[1:]] == [["gated", "float16"]]


def test_failure_in_a_function_only(capsys, tmp_path):
    path = tmp_path / "eager_cases.py"
    path.write_text(
        "from my_cases import case, gated\n"
        "CASES = [case('eager', lambda x, gain: gated(x, gain.numpy()), constants=['gain'])]\n"
    )
    options = ["--cases", str(path), "--samples", "1", "--dtypes", "float32"]
    assert main([*options, "--no-timing"]) == 0
    assert main(options) == 1
    output = capsys.readouterr().out
    assert "FAILED eager, float32, CPU, while timed" in output
    assert "the operation, in a tf.function, raised" in output


def test_list(capsys):
    assert main(["--list"]) == 0
    names = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert {"encoder_layer", "layer_norm", "pack"} <= set(names)
    assert main(["--list", "--cases", MY_CASES]) == 0
    assert capsys.readouterr().out == "gated: float32, bfloat16, float16; CPU, GPU\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--operations", "nonsense"], "unknown: nonsense; there are encoder_layer, "),
        (["--dtypes", "int8"], "no operation is checked in int8; there are bfloat16, "),
        (["--devices", "TPU"], "invalid choice: 'TPU'"),
        (["--samples", "0"], "must be at least 1, got 0"),
        (["--cases", "no/such/file.py"], "there is no file no/such/file.py"),
        (["--cases", __file__], "must have a list CASES"),
    ],
    ids=str,
)
def test_command_line_that_makes_no_sense(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_status:
        main(arguments)
    assert exit_status.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
def test_gpu_where_there_is_none(capsys):
    with pytest.raises(SystemExit) as exit_status:
        main(["--devices", "CPU", "GPU"])
    assert exit_status.value.code == 2
    assert "TensorFlow finds no GPU on this machine" in capsys.readouterr().err


def test_library_that_is_missing():
    result = subprocess.run(
        [sys.executable, "-m", "tf_ls.testing", "--operations", "layer_norm"],
        cwd="/",
        env={**os.environ, "TF_LS_LIBRARY": "/no/such/library.so"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "/no/such/library.so does not exist" in result.stderr
    assert "Traceback" not in result.stderr


def test_name_that_is_taken(capsys, tmp_path):
    path = tmp_path / "taken_cases.py"
    path.write_text("from my_cases import case\nCASES = [case('layer_norm')]\n")
    with pytest.raises(SystemExit) as exit_status:
        main(["--cases", str(path)])
    assert exit_status.value.code == 2
    assert "a name that is taken: layer_norm" in capsys.readouterr().err


def test_module_can_be_run():
    command = [sys.executable, "-m", "tf_ls.testing", "--operations", "layer_norm"]
    result = subprocess.run(
        [*command, "--samples", "2", "--dtypes", "float32", "--devices", "CPU", "--no-timing"],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "| layer_norm | float32 | CPU" in result.stdout
