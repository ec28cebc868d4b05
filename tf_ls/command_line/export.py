"""tf-ls export: a model on disk, as a SavedModel."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from tf_ls.command_line.options import named_value
from tf_ls.export import PRECISIONS, save
from tf_ls.files.definitions import FAMILIES


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "export",
        help="write a model as a SavedModel",
        description="Writes a model as a SavedModel that generates or encodes in one operation, and"
        " takes text if it is NeurST's and its subwords are SentencePiece's.",
    )
    parser.add_argument(
        "model",
        type=Path,
        help="NeurST's folder with model_configs.yml and a checkpoint, Hugging Face's with a"
        " config.json, or a model file, .pb or .hdf5",
    )
    parser.add_argument("path", type=Path, help="folder to write")
    parser.add_argument(
        "--precision",
        choices=[*PRECISIONS],
        default="float32",
        help="of the weights and of what layers compute (default: %(default)s); int8_bfloat16 has"
        " matrices in int8 and computes in bfloat16 between them, int8 in float32",
    )
    parser.add_argument("--family", choices=[*FAMILIES], help="of a model file")
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="for int8: text in the source language, a sentence a line, by which to find what had"
        " better stay in float32; the first 128 lines are used",
    )
    parser.add_argument(
        "--option",
        action="append",
        type=named_value,
        default=[],
        metavar="NAME=VALUE",
        help="a default of generation, such as beam_size=5; may be repeated",
    )
    parser.add_argument(
        "--portable",
        action="store_true",
        help="write it in TensorFlow's own operations alone, for servers that cannot load a"
        " library: slower, and from ids to ids only",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    # TensorFlow says much that is of no use here, unless it is asked to.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        if args.path.exists():
            raise FileExistsError(f"{args.path} is there already")
        options = {name: _value(name, text) for name, text in args.option}
        calibration = None
        if args.calibration is not None:
            calibration = args.calibration.read_text(encoding="utf-8").splitlines()
        save(
            args.model,
            args.path,
            precision=args.precision,
            family=args.family,
            options=options,
            portable=args.portable,
            calibration=calibration,
        )
    except (ImportError, ValueError, OSError) as error:
        print(f"tf-ls export: {error}", file=sys.stderr)
        return 1
    print(f"{args.path}: written, {args.precision}{', portable' if args.portable else ''}")
    return 0


def _value(name: str, text: str) -> Any:
    """An option's value from the command line: a number, true, false, null, or text."""
    try:
        if name == "forbidden_tokens":
            return tuple(json.loads(f"[{text}]"))
        return json.loads(text)
    except ValueError:
        return text
