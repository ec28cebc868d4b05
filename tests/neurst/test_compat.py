"""What lets NeurST run on newer TensorFlow, each test in an interpreter of its own."""

import textwrap
from importlib import metadata
from pathlib import Path

import pytest
import tiny_task

KERAS_IS_3 = int(metadata.version("keras").split(".")[0]) >= 3


def run(code: str, folder: Path, check: bool = True, **env: str) -> str:
    """Output of `code` in a fresh interpreter without the fused layers."""
    arguments = ["-c", textwrap.dedent(code)]
    return tiny_task.run_python(arguments, folder, stock=True, env=env, check=check).stdout


def last_line(output: str) -> str:
    return output.strip().splitlines()[-1]


def hide(*modules: str) -> str:
    """Code after which `modules` cannot be found."""
    return textwrap.dedent(f"""
        import sys
        class Hide:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {modules!r}:
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        sys.meta_path.insert(0, Hide())
        import importlib.util
        find_spec = importlib.util.find_spec
        importlib.util.find_spec = lambda name: None if name in {modules!r} else find_spec(name)
    """)


def test_neurst_imports_and_every_mend_may_be_applied_again(tmp_path):
    code = """
        import neurst, tensorflow as tf
        from tf_ls.neurst import compat
        from tensorflow.python.ops import summary_ops_v2
        names = "tf.keras.optimizers.Adam", "summary_ops_v2.graph", "tf.summary.scalar"
        before = [eval(n) for n in names]
        compat.mend_tensorflow()
        compat.mend_neurst()
        assert before == [eval(n) for n in names]
        import tensorflow.python.distribute.distribution_strategy_context as context
        from tensorflow.python.framework import ops
        from tensorflow.python.ops import control_flow_ops
        assert not context.has_strategy()
        assert control_flow_ops.cond
        assert ops.IndexedSlices is tf.IndexedSlices
        assert hasattr(neurst.optimizers.Adam(), "_set_hyper")
        assert neurst.optimizers.Adam._HAS_AGGREGATE_GRAD
        from neurst.training.revised_dynamic_loss_scale import RevisedDynamicLossScale
        optimizer = tf.keras.mixed_precision.LossScaleOptimizer(neurst.optimizers.Adam())
        loss_scale = RevisedDynamicLossScale(initial_loss_scale=8.0, growth_steps=5, multiplier=2)
        optimizer._loss_scale = loss_scale
        assert optimizer.loss_scale == 8.0
        print("good")
    """
    assert last_line(run(code, tmp_path)) == "good"


def test_summaries_with_and_without_tensorboard(tmp_path):
    code = """
        import neurst, os, tensorflow as tf
        from tensorflow.python.keras import backend
        from tensorflow.python.ops import summary_ops_v2
        with tf.summary.create_file_writer("events").as_default():
            summary_ops_v2.graph(backend.get_graph(), step=0)
            print(bool(tf.summary.scalar("loss", 1.0, step=3)))
    """
    output = run(hide("tensorboard") + textwrap.dedent(code), tmp_path)
    assert last_line(output) == "False"
    assert output.count("pip install tensorboard") == 1


def test_python_without_distutils(tmp_path):
    code = """
        import neurst
        from distutils.version import LooseVersion
        assert LooseVersion("2.4") < LooseVersion("2.12.1")
        assert not LooseVersion("2.12.1") < LooseVersion("2.5")
        try:
            import distutils.util
        except ImportError as e:
            print(type(e).__name__)
    """
    # TensorFlow 2.12 imports distutils itself, and knows no Python without it.
    forget = (
        "[sys.modules.pop(m) for m in list(sys.modules) if m.partition('.')[0] == 'distutils']\n"
    )
    code = "import tensorflow\n" + hide("distutils") + forget + textwrap.dedent(code)
    variables = {"TF_USE_LEGACY_KERAS": "1"} if KERAS_IS_3 else {}
    assert last_line(run(code, tmp_path, **variables)) == "ModuleNotFoundError"


def test_missing_scipy_is_named(tmp_path):
    output = run(hide("scipy") + "import neurst", tmp_path, check=False)
    assert "pip install scipy" in last_line(output)
    assert "ImportError" in last_line(output)


@pytest.mark.skipif(not KERAS_IS_3, reason="tf.keras is Keras 2 here")
class TestKeras3:
    """TensorFlow from 2.16."""

    def test_missing_tf_keras_is_named_with_its_version(self, tmp_path):
        minor = ".".join(metadata.version("tf_keras").split(".")[:2])
        output = run(hide("tf_keras") + "import neurst", tmp_path, check=False)
        assert f"pip install tf_keras~={minor}.0" in last_line(output)

    def test_tensorflow_imported_before(self, tmp_path):
        output = run("import tensorflow; import neurst", tmp_path, check=False)
        assert "TensorFlow was imported before NeurST" in last_line(output)
        assert "TF_USE_LEGACY_KERAS=1" in last_line(output)

    def test_tensorflow_imported_before_with_keras_2(self, tmp_path):
        code = "import tensorflow; import neurst; print('good')"
        assert last_line(run(code, tmp_path, TF_USE_LEGACY_KERAS="1")) == "good"

    def test_keras_3_asked_for(self, tmp_path):
        output = run("import neurst", tmp_path, check=False, TF_USE_LEGACY_KERAS="0")
        assert "TF_USE_LEGACY_KERAS=0 asks for Keras 3" in last_line(output)


@pytest.mark.skipif(KERAS_IS_3, reason="tf.keras is Keras 3 here")
def test_keras_2_needs_no_variable(tmp_path):
    code = "import tensorflow, neurst, os; print(os.environ.get('TF_USE_LEGACY_KERAS'))"
    assert last_line(run(code, tmp_path)) == "None"


def test_horovod_optimizer_takes_the_inner_optimizer_by_position(tmp_path):
    # Horovod itself is not needed: with BytePS the class asks for nothing before gradients are
    # reduced.
    code = """
        import neurst, tensorflow as tf
        from neurst.training import hvd_utils
        inner = neurst.optimizers.Adam(0.5)
        optimizer = hvd_utils.HorovodDistributedLossScaleOptimizer(
            inner_optimizer=inner, hvd_backend="byteps")
        print(optimizer.inner_optimizer is inner, float(optimizer.loss_scale))
    """
    assert last_line(run(code, tmp_path)) == "True 32768.0"
