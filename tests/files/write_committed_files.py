"""Writes the model files that lie in tests/files/models: once, and again only for new formats.

    python tests/files/write_committed_files.py

What is there already stays as it is: it stands for files that somebody has written with an older
version, which go on loading. KIND.FAMILY.ENDING is a file of a family: LightSeq's fields, tf_ls's
first own ones in a precision, or with those that came later; the numbers are those of
`small_models`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lightseq_messages import FAMILIES, fill
from lightseq_writer import write_hdf5_as_lightseq
from small_models import LATER, small_model

from tf_ls import files

FOLDER = Path(__file__).parent / "models"


def write_all() -> None:
    for family, message in FAMILIES.items():
        model = model_of("lightseq", family)
        data = fill(message(), model).SerializeToString(deterministic=True)
        once(f"lightseq.{family}.pb", Path.write_bytes, data)
        once(f"lightseq.{family}.hdf5", write_hdf5_as_lightseq, model)
        precisions = files.PRECISIONS if family == "transformer" else ("float32",)
        later = ("later",) if LATER[family] else ()
        for kind in (*precisions, *later):
            for ending in ("pb", "hdf5"):
                precision = None if kind == "later" else kind
                once(f"{kind}.{family}.{ending}", write, model_of(kind, family), precision)


def model_of(kind, family):
    """The model that a committed file has."""
    return small_model(family, own=kind != "lightseq", later=kind == "later")


def write(path, model, precision) -> None:
    files.write(model, path, precision)


def once(name, write, *arguments) -> None:
    path = FOLDER / name
    if not path.exists():
        write(path, *arguments)
        print(path)


if __name__ == "__main__":
    sys.exit(write_all())
