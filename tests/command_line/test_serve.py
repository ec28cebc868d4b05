"""tf-ls serve, as far as it does not serve; tests/serving has the rest."""

import subprocess
import sys

import pytest

from tf_ls.command_line.main import main


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["/nowhere"], "/nowhere is no folder"),
        (["{folder}", "--tls-key=x"], "--tls-certificate and --tls-key go together"),
        (["{folder}"], "has no SavedModel"),
    ],
    ids=str,
)
def test_what_makes_no_sense(flags, message, tmp_path, capsys):
    assert main(["serve", *[flag.format(folder=tmp_path) for flag in flags], "--no-grpc"]) == 1
    assert message in capsys.readouterr().err


def test_missing_packages_are_named(tmp_path):
    code = (
        "import importlib.util, sys\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name == 'aiohttp' else found(name)\n"
        "from tf_ls.command_line.main import main\n"
        f"sys.exit(main(['serve', {str(tmp_path)!r}]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert result.returncode == 1
    assert "aiohttp cannot be imported: pip install 'tf_ls[serving]'" in result.stderr


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--rest-port=65536", "must be from 0 to 65535, got 65536"),
        ("--max-sentences=0", "must be at least 1, got 0"),
        ("--timeout=0", "must be more than 0"),
        ("--drain-wait=inf", "must be at least 0, got inf"),
        ("--token=secret", "unrecognized arguments"),
    ],
)
def test_bad_flags(flag, message, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["serve", "folder", flag])
    assert exit.value.code == 2
    assert message in capsys.readouterr().err
