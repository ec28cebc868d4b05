"""SavedModels of earlier versions go on loading: what operations got since then has defaults.

first_operations.jsonl has the operations of the first exports that are still to load, an OpDef of
TensorFlow's on each line: those of before a stack could have a norm behind the embedding or types
of tokens. An operation that is new since is added; a line that is there is not changed.

(Defaults mean what they meant: TensorFlow leaves attributes that have them out of what it saves, so
that every test of an export loads one without them.)
"""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import json_format
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.framework import op_def_registry

from tf_ls.library import library

FILE = Path(__file__).with_name("first_operations.jsonl")


def first_operations() -> dict[str, op_def_pb2.OpDef]:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    operations = [json_format.Parse(line, op_def_pb2.OpDef()) for line in lines]
    return {operation.name: operation for operation in operations}


FIRST = first_operations()


@pytest.mark.parametrize("name", FIRST)
def test_an_operation_takes_and_returns_what_it_did(name):
    library.load()
    then, now = FIRST[name], op_def_registry.get(name)
    defaults = {a.name: a.default_value.i for a in now.attr if a.HasField("default_value")}
    known = {arg.name for arg in then.input_arg}
    for arg in now.input_arg:
        # A new input is a list, which is empty in what was saved.
        assert arg.name in known or defaults.get(arg.number_attr) == 0, arg
    assert [arg for arg in now.input_arg if arg.name in known] == list(then.input_arg)
    assert list(now.output_arg) == list(then.output_arg)


@pytest.mark.parametrize("name", FIRST)
def test_an_operation_has_the_attributes_that_it_had(name):
    library.load()
    then = {attr.name: attr for attr in FIRST[name].attr}
    now = {attr.name: attr for attr in op_def_registry.get(name).attr}
    assert then.keys() <= now.keys()
    for attr, definition in now.items():
        if attr not in then:
            assert definition.HasField("default_value"), attr
            continue
        assert definition.type == then[attr].type
        assert definition.default_value == then[attr].default_value
        assert definition.minimum <= then[attr].minimum
        for values in ("s", "type"):
            allowed = [
                set(getattr(d.allowed_values.list, values)) for d in (then[attr], definition)
            ]
            assert allowed[0] <= allowed[1]
