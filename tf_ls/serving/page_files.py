"""The page for people: its files, and what a browser may do with them."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

_FOLDER = Path(__file__).resolve().parent / "page"
_INDEX = "index.html"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}

_HEADERS = {
    # Nothing from elsewhere, nothing inline, no text as HTML, and nobody's frame.
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class Page:
    """The page's files, read once: what a request names is looked up here and nowhere else.

    Attributes:
        paths: where they are served.
    """

    def __init__(self):
        """Reads them.

        Raises:
            OSError: they cannot be read.
        """
        self._files = {
            "/" if file.name == _INDEX else f"/page/{file.name}": file
            for file in sorted(_FOLDER.iterdir())
            if file.suffix in _TYPES
        }
        self._contents = {path: file.read_bytes() for path, file in self._files.items()}
        self.paths = frozenset(self._files)

    def routes(self) -> list[web.RouteDef]:
        return [web.get(path, self._answer) for path in self.paths]

    async def _answer(self, request: web.Request) -> web.Response:
        return web.Response(
            body=self._contents[request.path],
            headers=_HEADERS,
            content_type=_TYPES[self._files[request.path].suffix],
            charset="utf-8",
        )
