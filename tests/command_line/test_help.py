"""Help is there at once, without TensorFlow."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("convert", "--family"),
        ("export", "--family"),
        ("translate", "--restart"),
        ("serve", "--batch-tokens"),
    ],
)
def test_help_needs_no_tensorflow(command, flag):
    code = (
        "import sys\n"
        "from tf_ls.command_line.main import main\n"
        f"try:\n    main(['{command}', '--help'])\n"
        "except SystemExit:\n    sys.exit('tensorflow' in sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert flag in result.stdout
