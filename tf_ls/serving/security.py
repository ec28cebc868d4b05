"""Who may ask, and over which connections."""

from __future__ import annotations

import hmac
import os
import ssl
from pathlib import Path
from typing import NamedTuple, Optional

from tf_ls.serving.errors import ServingError

TOKEN_VARIABLE = "TF_LS_SERVE_TOKEN"


class Certificate(NamedTuple):
    """Files in PEM format."""

    chain: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.chain, self.key)
        return context


def read_token(path: Optional[Path]) -> Optional[str]:
    """The token of a file, or of the environment; None if there is none.

    Raises:
        ValueError: it is empty, or has what a header cannot have.
        OSError: the file cannot be read.
    """
    if path is not None:
        token = path.read_text().strip()
    elif TOKEN_VARIABLE in os.environ:
        token = os.environ[TOKEN_VARIABLE].strip()
    else:
        return None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("the token must have visible ASCII characters, and no spaces")
    return token


def check_token(expected: Optional[str], authorization: str) -> None:
    """Checks a header `Authorization`, in a time that does not tell how much of it is right.

    Raises:
        ServingError: a token is expected, and this is not it.
    """
    if expected is None:
        return
    scheme, _, given = authorization.partition(" ")
    same = hmac.compare_digest(given.strip().encode(errors="replace"), expected.encode())
    if scheme.lower() != "bearer" or not same:
        raise ServingError("UNAUTHENTICATED", "a bearer token is needed")
