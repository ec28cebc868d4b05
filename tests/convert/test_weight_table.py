"""Rules are read and written back, and a table names what does not fit."""

import logging

import numpy as np
import pytest
from absl import logging as absl_logging
from small_models import small_model

from tf_ls.convert import ConversionError
from tf_ls.convert.weight_table import (
    Constant,
    Row,
    Same,
    Scaled,
    Transposed,
    WeightTable,
    WithoutRows,
    columns,
    vectors,
)

WEIGHTS = {
    "matrix": np.arange(12.0).reshape(3, 4),
    "other": np.arange(12.0).reshape(3, 4) + 100,
    "vector": np.arange(4.0),
    "short": np.arange(3.0),
    "row": np.arange(5.0)[None],
    "table": np.pad(np.arange(8.0).reshape(4, 2), [(2, 0), (0, 0)]),
}


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (Same("vector"), WEIGHTS["vector"]),
        (Transposed("matrix"), WEIGHTS["matrix"].T),
        (columns("matrix", "other"), np.hstack([WEIGHTS["matrix"].T, WEIGHTS["other"].T])),
        (columns(Same("matrix")), WEIGHTS["matrix"]),
        (vectors("vector", "vector"), np.tile(WEIGHTS["vector"], 2)),
        (Row("row"), WEIGHTS["row"][0]),
        (WithoutRows("table", 2), WEIGHTS["table"][2:]),
        (Scaled(Same("vector"), 4.0), 4 * WEIGHTS["vector"]),
        (Constant(np.zeros(3), "never"), np.zeros(3)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_rules_and_the_way_back(rule, field):
    np.testing.assert_array_equal(rule.read(WEIGHTS), field)
    written = rule.write(field)
    assert set(written) == set(rule.names)
    for name, array in written.items():
        np.testing.assert_array_equal(array, WEIGHTS[name])


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Transposed("vector"), r"vector: expected a matrix, got the shape \(4,\)"),
        (vectors("vector", "short"), "vector, short: expected 1 dimensions, the same of all"),
        (columns(Same("vector")), "vector: expected 2 dimensions"),
    ],
    ids=str,
)
def test_weights_of_another_shape(rule, message):
    with pytest.raises(ConversionError, match=message):
        rule.read(WEIGHTS)


def test_constants_are_nothing_else():
    with pytest.raises(ConversionError, match="it has no bias"):
        Constant(np.zeros(3), "it has no bias").write(np.ones(3))


class Whole:
    """A model whose fields are weights of the same names."""

    def __init__(self):
        self.model = small_model("bert")
        self.weights = {name: self.model.float32(name) for name in self.model.shapes()}

    def table(self, **options):
        return WeightTable({name: Same(name) for name in self.weights}, **options)

    def read(self, **options):
        model = type(self.model)("bert", self.model.settings)
        self.table(**options).read(self.weights, model)
        return model


@pytest.fixture
def whole():
    return Whole()


def test_all_weights(whole):
    read = whole.read()
    assert read.shapes() == whole.model.shapes()
    assert set(whole.table().write(read)) == set(whole.weights)


def test_weights_that_are_missing(whole):
    del whole.weights["pooler/bias"], whole.weights["head/bias"]
    table = WeightTable({name: Same(name) for name in whole.model.shapes()})
    with pytest.raises(ConversionError, match="does not have head/bias, pooler/bias"):
        table.read(whole.weights, whole.model)


def test_weights_that_have_no_field(whole):
    whole.weights["more"] = np.zeros(2)
    table = WeightTable({name: Same(name) for name in whole.model.shapes()})
    with pytest.raises(ConversionError, match="there is no field for more"):
        table.read(whole.weights, whole.model)


def test_what_is_left_out_is_in_the_log(whole, caplog, monkeypatch):
    monkeypatch.setattr(absl_logging.get_absl_logger(), "propagate", True)
    fields = {name: Same(name) for name in whole.weights}
    whole.weights.update({"heads.1": np.zeros(2), "buffer": np.zeros(2)})
    table = WeightTable(fields, no_weights=["buffer"], left_out=[r"heads\.\d"])
    with caplog.at_level(logging.WARNING, logger="absl"):
        table.read(whole.weights, whole.model)
    assert "left out, because nothing reads them: heads.1" in caplog.text
    assert "buffer" not in caplog.text


def test_optional_parts_are_there_or_not(whole):
    fields = {name: Same(name) for name in whole.weights}
    table = WeightTable(fields, optional=["pooler/"])
    for name in ("pooler/kernel", "pooler/bias"):
        del whole.weights[name]
        read = type(whole.model)("bert", whole.model.settings)
        if name == "pooler/kernel":  # but not half of one
            with pytest.raises(ConversionError, match="does not have pooler/kernel"):
                table.read(whole.weights, read)
    table.read(whole.weights, read)
    assert set(table.write(read)) == set(whole.weights)


def test_second_names(whole):
    table = whole.table(copies={"copy": "head/bias"})
    whole.weights["copy"] = whole.weights["head/bias"]
    table.read(whole.weights, whole.model)
    del whole.weights["head/bias"]
    table.read(whole.weights, whole.model)
    whole.weights["head/bias"] = whole.weights["copy"] + 1
    with pytest.raises(ConversionError, match="copy: expected the same numbers as in head/bias"):
        table.read(whole.weights, whole.model)


def test_fields_that_have_no_weight(whole):
    fields = {name: Same(name) for name in whole.weights if not name.startswith("head/")}
    with pytest.raises(ConversionError, match="there is no weight for head/kernel, head/bias"):
        WeightTable(fields).write(whole.model)
    fields = {name: Same(name) for name in [*whole.weights, "encoder_stack/2/ffn_norm_bias"]}
    with pytest.raises(ConversionError, match="the model does not have encoder_stack/2/ffn_norm_b"):
        WeightTable(fields).write(whole.model)


def test_one_weight_of_two_fields(whole):
    fields = {name: Same(name) for name in whole.weights}
    fields["pooler/bias"] = Same("src_embedding/norm_bias")
    with pytest.raises(ConversionError, match="expected the numbers of another field, too"):
        WeightTable(fields).write(whole.model)
