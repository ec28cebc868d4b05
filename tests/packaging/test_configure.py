"""configure.py: what it finds, what it writes, and one clear sentence for each thing missing."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load_configure():
    spec = importlib.util.spec_from_file_location("configure", ROOT / "configure.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["configure"] = module  # dataclasses look their module up.
    spec.loader.exec_module(module)
    return module


configure = load_configure()


def script(path: Path, text: str) -> str:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def fake_python(tmp_path: Path, found: str) -> str:
    """A "Python" that answers every probe with `found`."""
    return script(tmp_path / "python", f"cat <<'END'\n{found}\nEND\n")


NOTHING = '{"python": [3, 11], "distribution": null, "version": null, "onednn_files": []}'


def test_no_tensorflow(tmp_path):
    python = fake_python(tmp_path, NOTHING)
    with pytest.raises(configure.ConfigurationError, match=r"not installed .* pip install tensor"):
        configure.find_tensorflow(python)


@pytest.mark.parametrize("version", ["2.11.1", "2.22.0", "1.15.5"])
def test_tensorflow_out_of_range(tmp_path, version):
    found = NOTHING.replace('"distribution": null', '"distribution": "tensorflow"')
    python = fake_python(tmp_path, found.replace('"version": null', f'"version": "{version}"'))
    with pytest.raises(configure.ConfigurationError, match=f"2.12 to 2.21, but .* {version}"):
        configure.find_tensorflow(python)


@pytest.mark.parametrize("version", ["3, 8", "3, 13"])
def test_python_out_of_range(tmp_path, version):
    python = fake_python(tmp_path, NOTHING.replace("3, 11", version))
    with pytest.raises(configure.ConfigurationError, match=r"Python 3\.9 to 3\.12"):
        configure.find_tensorflow(python)


def test_tensorflow_that_does_not_import(tmp_path):
    python = script(
        tmp_path / "python",
        'case "$*" in *import) echo "ImportError: broken" >&2; exit 1;; esac\n'
        f"""echo '{NOTHING.replace("null", '"tensorflow"', 1).replace("null", '"2.21.0"')}'\n""",
    )
    with pytest.raises(configure.ConfigurationError, match=r"failed; mend[^$]*ImportError: broken"):
        configure.find_tensorflow(python)


def test_python_that_does_not_run(tmp_path):
    with pytest.raises(configure.ConfigurationError, match=r"Cannot run .*No such file"):
        configure.find_tensorflow(str(tmp_path / "nowhere"))


def test_no_bazel(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("TF_LS_BAZEL", raising=False)
    with pytest.raises(configure.ConfigurationError, match=r"Bazel is not installed: .*apt-get.*"):
        configure.find_bazel()


def test_bazel_too_new(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_LS_BAZEL", script(tmp_path / "bazel", "echo bazel 9.0.0\n"))
    with pytest.raises(
        configure.ConfigurationError, match=r"Bazel 4 to 7, but .* 9\.0: use bazelisk"
    ):
        configure.find_bazel()


def test_bazel_that_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_LS_BAZEL", script(tmp_path / "bazel", "echo no java >&2; exit 36\n"))
    with pytest.raises(configure.ConfigurationError, match=r"failed:\nno java"):
        configure.find_bazel()


def test_debian_bazel_without_its_rules(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_LS_BAZEL", script(tmp_path / "bazel", "echo bazel no_version\n"))
    monkeypatch.setattr(configure, "DEBIAN_REPOSITORIES", {"rules_java": tmp_path / "missing"})
    with pytest.raises(configure.ConfigurationError, match=r"lacks .*missing: apt-get install"):
        configure.find_bazel()


def test_no_onednn(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_LS_ONEDNN", str(tmp_path))
    with pytest.raises(
        configure.ConfigurationError, match=r"oneDNN's headers .* pip install onednn"
    ):
        configure.find_onednn("python")


def test_no_compiler(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(
        configure.ConfigurationError, match=r"compiler no-such-compiler was not found"
    ):
        configure.find_all()


def test_finds_the_tensorflow_of_this_environment():
    tensorflow = configure.find_tensorflow(sys.executable)
    assert Path(tensorflow.library).exists()
    assert (Path(tensorflow.include) / "tensorflow/core/framework/op.h").exists()


@pytest.fixture
def tensorflow():
    return configure.TensorFlow(
        "tensorflow-cpu", "2.21.0", "/env/bin/python", include="/tf/include", library="/tf/lib"
    )


@pytest.fixture
def onednn():
    return configure.OneDnn("/dnnl/include", "/dnnl/lib/libdnnl.so.3")


SENTENCEPIECE = "/cache/sentencepiece"


def test_bazelrc_of_debian_overrides_repositories(tensorflow, onednn):
    text = configure.bazelrc(
        tensorflow, onednn, SENTENCEPIECE, None, configure.Bazel("/usr/bin/bazel", None)
    )
    assert "--override_repository=rules_cc=" in text
    assert "bzlmod" not in text


@pytest.mark.parametrize("version", [(6, 5), (7, 4)])
def test_bazelrc_of_others_overrides_nothing(tensorflow, onednn, version):
    text = configure.bazelrc(
        tensorflow, onednn, SENTENCEPIECE, None, configure.Bazel("bazelisk", version)
    )
    assert "--override_repository" not in text
    assert "common --noenable_bzlmod" in text
    assert 'TF_LS_TENSORFLOW_INCLUDE="/tf/include"' in text
    assert f'TF_LS_SENTENCEPIECE_SOURCES="{SENTENCEPIECE}"' in text


def test_bazelrc_old_abi(tensorflow, onednn):
    old = configure.dataclasses.replace(tensorflow, cxx11_abi=0)
    text = configure.bazelrc(old, onednn, SENTENCEPIECE, None, configure.Bazel("bazel", (6, 5)))
    assert "build --cxxopt=-D_GLIBCXX_USE_CXX11_ABI=0" in text


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TF_LS_SENTENCEPIECE", raising=False)


@pytest.fixture
def source_distribution(tmp_path, monkeypatch):
    """A small archive that passes for SentencePiece's."""
    folder = tmp_path / f"sentencepiece-{configure.SENTENCEPIECE_VERSION}"
    (folder / "sentencepiece/src").mkdir(parents=True)
    (folder / "sentencepiece/src/util.cc").write_text("// C++\n")
    archive = tmp_path / f"{folder.name}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(configure, "SENTENCEPIECE_SHA256", digest)
    return archive


def test_sentencepiece_is_downloaded_once(empty_cache, source_distribution, tmp_path):
    calls = tmp_path / "calls"
    python = script(
        tmp_path / "python",
        f"""echo "$*" >> {calls}
for argument; do case $argument in --dest=*) cp {source_distribution} ${{argument#*=}};; esac; done
""",
    )
    sources = configure.find_sentencepiece(python)
    assert (Path(sources) / "src/util.cc").exists()
    assert configure.find_sentencepiece(python) == sources
    (call,) = calls.read_text().splitlines()
    assert call.startswith("-m pip download")
    assert "--require-hashes" in call


def test_sentencepiece_that_is_named(empty_cache, source_distribution, monkeypatch):
    monkeypatch.setenv("TF_LS_SENTENCEPIECE", str(source_distribution))
    assert (Path(configure.find_sentencepiece("no python")) / "src/util.cc").exists()


def test_sentencepiece_that_is_another(empty_cache, tmp_path, monkeypatch):
    (tmp_path / "other.tar.gz").write_bytes(b"something else")
    monkeypatch.setenv("TF_LS_SENTENCEPIECE", str(tmp_path / "other.tar.gz"))
    with pytest.raises(configure.ConfigurationError, match=r"is not sentencepiece-.* SHA-256"):
        configure.find_sentencepiece("no python")
    monkeypatch.setenv("TF_LS_SENTENCEPIECE", str(tmp_path / "nowhere"))
    with pytest.raises(configure.ConfigurationError, match=r"nowhere: No such file"):
        configure.find_sentencepiece("no python")


def test_no_sentencepiece_without_a_network(empty_cache, tmp_path):
    python = script(tmp_path / "python", "echo 'no network' >&2; exit 1\n")
    with pytest.raises(
        configure.ConfigurationError, match=r"name it in TF_LS_SENTENCEPIECE[^$]*no network"
    ):
        configure.find_sentencepiece(python)
    assert not list((tmp_path / "cache/tf_ls").iterdir())


@pytest.fixture
def toolkit(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib64").mkdir()
    (tmp_path / "bin/nvcc").touch()
    (tmp_path / "lib64/libcudart_static.a").touch()
    return tmp_path


def test_finds_the_cuda_that_is_named(tensorflow, toolkit, monkeypatch):
    monkeypatch.setenv("TF_LS_CUDA", str(toolkit))
    cuda = configure.find_cuda(tensorflow)
    assert cuda == configure.Cuda(str(toolkit), str(toolkit / "lib64/libcudart_static.a"))


def test_cuda_can_be_refused(tensorflow, monkeypatch):
    monkeypatch.setenv("TF_LS_CUDA", "")
    assert configure.find_cuda(tensorflow) is None


def test_old_tensorflow_gets_no_cuda(tensorflow, toolkit, monkeypatch):
    monkeypatch.setenv("TF_LS_CUDA", str(toolkit))
    old = configure.dataclasses.replace(tensorflow, version="2.17.1")
    assert configure.find_cuda(old) is None


def test_named_cuda_that_is_none(tensorflow, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_LS_CUDA", str(tmp_path))
    with pytest.raises(configure.ConfigurationError, match=r"is no CUDA toolkit with bin/nvcc"):
        configure.find_cuda(tensorflow)


def test_bazelrc_with_cuda(tensorflow, onednn):
    cuda = configure.Cuda("/cuda", "/cuda/lib64/libcudart_static.a")
    text = configure.bazelrc(
        tensorflow, onednn, SENTENCEPIECE, cuda, configure.Bazel("bazel", (6, 5))
    )
    assert "build --define=tf_ls_cuda=true" in text
    assert 'TF_LS_CUDA="/cuda"' in text


def test_bazelrc_without_cuda_takes_back_what_another_said(tensorflow, onednn):
    text = configure.bazelrc(
        tensorflow, onednn, SENTENCEPIECE, None, configure.Bazel("bazel", (6, 5))
    )
    assert "build --define=tf_ls_cuda=false" in text


def test_output_bases_differ_by_tensorflow(tensorflow, monkeypatch):
    monkeypatch.delenv("TF_LS_OUTPUT_BASE", raising=False)
    other = configure.dataclasses.replace(tensorflow, version="2.12.1")
    assert configure.output_base(tensorflow) != configure.output_base(other)


def test_all_builds_share_what_one_compiler_made(tensorflow, onednn, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiler = tmp_path / "my-gcc"
    compiler.write_text("#!/bin/sh\necho 99.1.0\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    for version in ("2.12.1", "2.21.0"):
        found = configure.dataclasses.replace(tensorflow, version=version)
        text = configure.bazelrc(
            found, onednn, SENTENCEPIECE, None, configure.Bazel("bazel", (6, 5))
        )
        cache = tmp_path / "tf_ls/bazel/compiled-my-gcc-99.1.0"
        assert f'build --disk_cache="{cache}"' in text


def test_clean_environment(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/overlay")
    monkeypatch.setenv("PIP_REQ_TRACKER", "/tmp")
    environment = configure.clean_environment()
    assert "PYTHONPATH" not in environment
    assert "PIP_REQ_TRACKER" not in environment
    assert "PATH" in environment


def test_command_line_says_one_sentence(tmp_path):
    python = fake_python(tmp_path, NOTHING)
    result = subprocess.run(
        [sys.executable, ROOT / "configure.py", "--python", python, "--output", tmp_path / "rc"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "rc").exists()
