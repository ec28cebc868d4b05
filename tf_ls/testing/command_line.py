"""python -m tf_ls.testing: operations against their references, as a table.

Exit status: 0 if all agree, 1 if something differs, 2 for a command line that makes no sense.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from tf_ls.testing import report
from tf_ls.testing.case import DEVICES, Case
from tf_ls.testing.cases import BUILT_IN, choose
from tf_ls.testing.runner import SAMPLES, available_devices, run


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(arguments)
    try:
        cases = _cases(args)
        _check_choices(cases, args)
    except ValueError as error:
        parser.error(str(error))
    if args.list:
        for case in cases:
            print(f"{case.name}: {', '.join(case.dtypes)}; {', '.join(case.devices)}")
        return 0
    try:
        results = run(
            cases,
            dtypes=args.dtypes,
            devices=args.devices,
            samples=args.samples,
            seed=args.seed,
            timing=args.timing,
            progress=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except (ValueError, ImportError) as error:  # of what was asked for; failures are in results
        parser.error(str(error))
    command = "python -m tf_ls.testing" + (f" --cases {args.cases}" if args.cases else "")
    ran = any(result.samples for result in results)
    texts = [report.table(results) if ran else "", report.skipped(results)]
    texts += [report.failures(results, command), report.EXPLANATION if ran else "Nothing ran."]
    print("\n\n".join(filter(None, texts)))
    return 0 if ran and all(result.passed for result in results) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tf_ls.testing",
        description="Compares operations with their references on random inputs, and times them.",
        epilog="docs/testing.md describes cases.",
    )
    parser.add_argument(
        "--cases", type=Path, metavar="FILE", help="a Python file with a list of cases, CASES"
    )
    parser.add_argument(
        "--operations",
        nargs="+",
        metavar="NAME",
        help="the cases to run (default: those of --cases, or else all of tf_ls)",
    )
    parser.add_argument("--dtypes", nargs="+", metavar="DTYPE", help="default: all that a case has")
    parser.add_argument(
        "--devices", nargs="+", choices=DEVICES, help="default: those of this machine"
    )
    parser.add_argument(
        "--samples",
        type=_positive,
        default=SAMPLES,
        metavar="N",
        help="how many inputs to draw (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the first input; the next has N + 1"
    )
    parser.add_argument("--no-timing", dest="timing", action="store_false", help="compare only")
    parser.add_argument("--list", action="store_true", help="list the cases and stop")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _cases(args: argparse.Namespace) -> list[Case]:
    """The cases to run.

    Raises:
        ValueError: if there is no such file, no cases in it, or no case of a name.
    """
    own = load_cases(args.cases) if args.cases else []
    names = [case.name for case in (*BUILT_IN, *own)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{args.cases} has a name that is taken: {', '.join(twice)}")
    if args.operations is None:
        chosen = own or list(BUILT_IN)
    else:
        chosen = choose([*BUILT_IN, *own], args.operations)
    return chosen


def load_cases(path: Path) -> list[Case]:
    """The list CASES of a Python file.

    Raises:
        ValueError: if there is no such file, or no such list in it.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # dataclasses look their module up
    sys.path.insert(0, str(path.parent.resolve()))  # as for a script
    spec.loader.exec_module(module)
    cases = getattr(module, "CASES", None)
    if not isinstance(cases, (list, tuple)) or not cases:
        raise ValueError(f"{path} must have a list CASES of tf_ls.testing.Case")
    for case in cases:
        if not isinstance(case, Case):
            raise ValueError(f"CASES of {path} must be tf_ls.testing.Case, got {case!r}")
    return list(cases)


def _check_choices(cases: Sequence[Case], args: argparse.Namespace) -> None:
    known = {dtype for case in cases for dtype in case.dtypes}
    if unknown := [dtype for dtype in args.dtypes or [] if dtype not in known]:
        raise ValueError(
            f"no operation is checked in {', '.join(unknown)}; there are {', '.join(sorted(known))}"
        )
    if missing := set(args.devices or []) - set(available_devices()):
        raise ValueError(f"TensorFlow finds no {', '.join(missing)} on this machine")
