"""tf-ls convert: a model of another library as a model file, and back."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "convert",
        help="make a model file of another library's model, or the other way round",
        description="Makes a model file (.pb, .hdf5) of another library's model, which it"
        " recognizes, or the other way round. See docs/converters.md for what is carried, and what"
        " refused.",
    )
    parser.add_argument("source", type=Path, metavar="FROM", help="model file or folder to read")
    parser.add_argument(
        "target", type=Path, metavar="TO", help="file to write, .pb or .hdf5; or folder, with --to"
    )
    parser.add_argument(
        "--family",
        choices=["transformer", "bert", "gpt"],
        help="of a model file to read, which does not say it",
    )
    parser.add_argument(
        "--to",
        metavar="FORMAT",
        help="write no model file, but: hugging_face or neurst",
    )
    parser.add_argument(
        "--model-type", help="Hugging Face's, where a family has several, such as marian"
    )
    parser.add_argument(
        "--precision", help="of a model file: float32 (default), float16, bfloat16 or int8"
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    # TensorFlow says much that is of no use here, unless it is asked to.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from tf_ls import convert

    try:
        if args.target.exists():  # before minutes are spent on reading
            raise FileExistsError(f"{args.target} is there already")
        model = convert.read(args.source, args.family)
        numbers = sum(math.prod(shape) for shape in model.shapes().values())
        print(f"{args.source}: {model.family.name}, {numbers:,} numbers", flush=True)
        written = convert.write(
            model, args.target, to=args.to, model_type=args.model_type, precision=args.precision
        )
    except (ImportError, ValueError, OSError) as error:
        print(f"tf-ls convert: {error}", file=sys.stderr)
        return 1
    print(f"{written}: written")
    return 0
