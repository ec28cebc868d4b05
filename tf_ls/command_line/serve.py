"""tf-ls serve: SavedModels over HTTP and gRPC, as TensorFlow Serving does it."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

EXTRA = "pip install 'tf_ls[serving]'"


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "serve",
        help="serve SavedModels over HTTP and gRPC",
        description="Answers TensorFlow Serving's REST and gRPC requests; see docs/serving.md.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,  # --token must not be taken for --token-file
    )
    parser.add_argument(
        "path",
        type=Path,
        help="a SavedModel; a folder of its versions, 1, 2, ...; or a folder of such models",
    )
    parser.add_argument("--name", help="of the model, if it is one (default: its folder's)")
    _add_connections(parser.add_argument_group("connections"))
    _add_models(parser.add_argument_group("models"))
    _add_batches(parser.add_argument_group("batches"))
    _add_limits(parser.add_argument_group("limits"))
    _add_end(parser.add_argument_group("the end"))
    parser.set_defaults(run=_run)


def _add_connections(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--host", default="127.0.0.1", help="to listen on; 0.0.0.0 for all")
    group.add_argument("--rest-port", type=_port, default=8501, metavar="N", help="0: any")
    group.add_argument("--grpc-port", type=_port, default=8500, metavar="N", help="0: any")
    group.add_argument("--no-grpc", action="store_true", help="REST only")
    group.add_argument("--no-page", action="store_true", help="no page for people at /")
    group.add_argument("--tls-certificate", type=Path, metavar="FILE", help="PEM; turns TLS on")
    group.add_argument("--tls-key", type=Path, metavar="FILE", help="of the certificate, PEM")
    group.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="the bearer token that clients need; or TF_LS_SERVE_TOKEN in the environment",
    )
    group.add_argument("--read-timeout", type=_seconds, default=30, metavar="S", help="of a body")


def _add_models(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--poll-seconds", type=_seconds, default=1, metavar="S", help="between looks for versions"
    )
    group.add_argument("--versions", type=_positive, default=1, metavar="N", help="kept, newest")
    group.add_argument(
        "--version-labels",
        type=Path,
        metavar="FILE",
        help='labels of versions, which are kept, too: {"MODEL": {"LABEL": VERSION}}',
    )


def _add_batches(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--batch-tokens",
        type=_positive,
        default=2048,
        metavar="N",
        help="of a batch: sentences times the longest of them",
    )
    group.add_argument("--batch-sentences", type=_positive, default=24, metavar="N", help="at most")
    group.add_argument(
        "--batch-wait-ms", type=_number, default=2, metavar="MS", help="for company, when idle"
    )
    group.add_argument(
        "--concurrency", type=_positive, default=1, metavar="N", help="batches at a time"
    )


def _add_limits(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max-request-bytes", type=_positive, default=8 << 20, metavar="N", help="of a request"
    )
    group.add_argument("--max-sentences", type=_positive, default=1024, metavar="N", help="of one")
    group.add_argument(
        "--max-source-length",
        type=_positive,
        default=1024,
        metavar="N",
        help="tokens of a sentence",
    )
    group.add_argument(
        "--max-beam-size", type=_positive, default=16, metavar="N", help="and hypotheses returned"
    )
    group.add_argument(
        "--max-length", type=_positive, default=1024, metavar="N", help="tokens of a hypothesis"
    )
    group.add_argument(
        "--max-work",
        type=_positive,
        default=1 << 20,
        metavar="N",
        help="of a request: sentences times beam times length",
    )
    group.add_argument(
        "--max-attention",
        type=_positive,
        default=1 << 18,
        metavar="N",
        help="numbers of attention that a request may ask for",
    )
    group.add_argument(
        "--queue-sentences", type=_positive, default=4096, metavar="N", help="that may wait"
    )
    group.add_argument(
        "--queue-tokens", type=_positive, default=1 << 17, metavar="N", help="that may wait"
    )
    group.add_argument(
        "--queue-seconds",
        type=_seconds,
        default=2,
        metavar="S",
        help="that a new request may have to wait for batches in front of its own",
    )
    group.add_argument(
        "--queue-patience",
        type=_seconds,
        default=1,
        metavar="S",
        help="for which more may wait than the next batches take; then the oldest is refused",
    )
    group.add_argument(
        "--timeout", type=_seconds, default=60, metavar="S", help="the longest that a request takes"
    )


def _add_end(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--drain-wait",
        type=_number,
        default=1,
        metavar="S",
        help="after SIGTERM, not ready, but still taking requests",
    )
    group.add_argument(
        "--drain-timeout",
        type=_number,
        default=30,
        metavar="S",
        help="then, for requests that were taken",
    )
    group.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info", help="of logs"
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number < 1 << 16:
        raise argparse.ArgumentTypeError(f"must be from 0 to 65535, got {number}")
    return number


def _number(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be at least 0, got {text}")
    return number


def _seconds(text: str) -> float:
    number = _number(text)
    if number == 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def _run(args: argparse.Namespace) -> int:
    # TensorFlow says much that is of no use here, unless it is asked to.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        asyncio.run(_serve(args))
    except ImportError as error:
        print(f"tf-ls serve: {error}: {EXTRA} installs what serving needs", file=sys.stderr)
        return 1
    except (ValueError, OSError, RuntimeError) as error:
        print(f"tf-ls serve: {error}", file=sys.stderr)
        return 1
    sys.stderr.flush()
    # A call of a model that cannot be stopped would keep its thread, and that the process.
    os._exit(0)


async def _serve(args: argparse.Namespace) -> None:
    if not args.path.is_dir():
        raise ValueError(f"{args.path} is no folder")
    if (args.tls_certificate is None) != (args.tls_key is None):
        raise ValueError("--tls-certificate and --tls-key go together")
    _check_packages(grpc=not args.no_grpc)
    from tf_ls.serving import logs
    from tf_ls.serving.batch_queue import Budget
    from tf_ls.serving.limits import Limits
    from tf_ls.serving.security import Certificate, read_token
    from tf_ls.serving.server import Server, Settings

    certificate = None
    if args.tls_certificate is not None:
        certificate = Certificate(args.tls_certificate, args.tls_key)
    settings = Settings(
        path=args.path,
        name=args.name,
        host=args.host,
        rest_port=args.rest_port,
        grpc_port=None if args.no_grpc else args.grpc_port,
        poll_seconds=args.poll_seconds,
        versions=args.versions,
        version_labels=args.version_labels,
        budget=Budget(args.batch_tokens, args.batch_sentences),
        batch_wait=args.batch_wait_ms / 1000,
        concurrency=args.concurrency,
        limits=Limits(
            request_bytes=args.max_request_bytes,
            sentences=args.max_sentences,
            source_length=args.max_source_length,
            beam_size=args.max_beam_size,
            length=args.max_length,
            work=args.max_work,
            attention=args.max_attention,
            timeout=args.timeout,
            queue_sentences=args.queue_sentences,
            queue_tokens=args.queue_tokens,
            queue_seconds=args.queue_seconds,
            queue_patience=args.queue_patience,
        ),
        read_timeout=args.read_timeout,
        drain_wait=args.drain_wait,
        drain_timeout=args.drain_timeout,
        certificate=certificate,
        token=read_token(args.token_file),
        page=not args.no_page,
    )
    server = Server(settings)
    logs.set_up(args.log_level)
    await server.serve()


def _check_packages(*, grpc: bool) -> None:
    """Says what is missing before seconds are spent on TensorFlow.

    Raises:
        ImportError: a package is missing.
    """
    import importlib.util

    needed = ["aiohttp", "prometheus_client"]
    needed += ["grpc", "tensorflow_serving"] if grpc else []
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"{', '.join(missing)} cannot be imported")
