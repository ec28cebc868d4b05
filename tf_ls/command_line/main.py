"""tf-ls: models from the command line.

Exit status: 0 if it worked, 1 if it did not, 2 for a command line that makes no sense, 130 if it
was interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Optional

import tf_ls
from tf_ls.command_line import convert, export, serve, translate

_SUBCOMMANDS = (convert, export, translate, serve)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(
        prog="tf-ls",
        description="Models from the command line.",
        epilog="See docs/command_line.md.",
    )
    parser.add_argument("--version", action="version", version=f"tf_ls {tf_ls.__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for subcommand in _SUBCOMMANDS:
        subcommand.add_parser(subparsers)
    args = parser.parse_args(arguments)
    return args.run(args)
