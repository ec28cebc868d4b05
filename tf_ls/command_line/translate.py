"""tf-ls translate: files of any size through a SavedModel that translates."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tf_ls.command_line.options import named_value
from tf_ls.inference.progress_file import ProgressMismatch


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "translate",
        help="translate a text file, a sentence a line",
        description="Translates a text file in UTF-8, a sentence a line. If it is stopped, by"
        " whatever, the same command goes on where it was.",
    )
    parser.add_argument(
        "model", type=Path, help="folder of a SavedModel with a signature `translate`"
    )
    parser.add_argument("file", type=Path, help="text file to translate")
    parser.add_argument(
        "-o", "--output", type=Path, help="file to write (default: FILE.translated)"
    )
    parser.add_argument(
        "--batch-size",
        type=_positive,
        default=32,
        metavar="N",
        help="sentences to translate at a time (default: %(default)s)",
    )
    parser.add_argument(
        "--option",
        action="append",
        type=named_value,
        default=[],
        metavar="NAME=VALUE",
        help="an option of the model's signature, such as beam_size=4; may be repeated",
    )
    parser.add_argument(
        "--restart", action="store_true", help="forget what an earlier, stopped run has translated"
    )
    parser.set_defaults(run=_run)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _run(args: argparse.Namespace) -> int:
    # TensorFlow says much that is of no use here, unless it is asked to.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    target = args.output or args.file.with_name(args.file.name + ".translated")
    try:
        if not args.file.is_file():  # before seconds are spent on the model
            raise FileNotFoundError(f"{args.file} is no file")
        result = _translate(args, target)
    except (ValueError, OSError) as error:
        mismatch = isinstance(error, ProgressMismatch)
        hint = " (--restart translates all sentences again)" if mismatch else ""
        print(f"tf-ls translate: {error}{hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tf-ls translate: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    resumed = f", {result.resumed} of them before" if result.resumed else ""
    print(f"{target}: {result.lines} lines, {result.sentences} sentences translated{resumed}")
    return 0


def _translate(args: argparse.Namespace, target: Path):
    import tensorflow as tf

    from tf_ls.inference import load_translator, translate_file
    from tf_ls.inference.translator import model_digest

    options = dict(args.option)
    translator = load_translator(args.model, options)
    try:
        return translate_file(
            translator,
            args.file,
            target,
            identity={"model": model_digest(args.model), **_named_options(options)},
            batch_size=args.batch_size,
            restart=args.restart,
        )
    except tf.errors.OpError as error:
        raise ValueError(f"the model failed: {error.message}") from error


def _named_options(options: dict[str, str]) -> dict[str, str]:
    return {f"option {name}": value for name, value in options.items()}
