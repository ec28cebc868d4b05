"""Files that were written once (write_committed_files.py) go on loading."""

from pathlib import Path

import pytest
from small_models import assert_same
from write_committed_files import FOLDER, model_of, write_all

from tf_ls import files

PATHS = sorted(FOLDER.iterdir())
LARGEST_ROUNDING_OF_INT8 = 0.75 / 127 / 2 + 1e-6


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_the_numbers_that_were_written(path):
    kind, family, _ = path.name.split(".")
    model = model_of(kind, family)
    tolerance = LARGEST_ROUNDING_OF_INT8 if kind == "int8" else 0
    assert_same(files.read(path, family), model, tolerance)


def test_all_are_there(monkeypatch):
    """Were one missing, what is written today would stand for what was written then."""
    written = []
    monkeypatch.setattr("write_committed_files.once", lambda name, *_: written.append(name))
    write_all()
    assert sorted(written) == [path.name for path in PATHS]


@pytest.mark.parametrize("path", [p for p in PATHS if p.suffix == ".pb"], ids=lambda p: p.name)
def test_what_is_written_today_is_the_same(path, tmp_path):
    kind, family, _ = path.name.split(".")
    wanted = kind if kind in files.PRECISIONS else None
    again = files.write(model_of(kind, family), tmp_path / "again.pb", wanted)
    assert Path(again).read_bytes() == path.read_bytes()
