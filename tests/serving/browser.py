"""A browser without a window, for tests of the page."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

PATIENCE = 60_000  # milliseconds; tests run beside others

# Playwright's own browsers are downloaded; the system's will do.
_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.fail(
            f"none of {', '.join(_NAMES)} is here: `make system-tests`, or apt-get install chromium"
        )
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work for root.
        browser = playwright.chromium.launch(
            executable_path=path, chromium_sandbox=os.getuid() != 0, args=["--disable-gpu"]
        )
        yield browser
        browser.close()


@contextlib.contextmanager
def tab(browser: Browser, url: str, **settings: Any) -> Iterator[Page]:
    """A page that has been opened; at its end nothing must have gone wrong in it unseen.

    Neither a script, nor what the Content-Security-Policy forbids, nor a request to another host.
    """
    context = browser.new_context(**settings)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"a script failed: {error}"))
    page.on("console", lambda said: wrong.extend(_violation(said.text)))
    page.on("request", lambda request: wrong.extend(_elsewhere(request.url, url)))
    page.goto(url)
    yield page
    context.close()
    assert not wrong


def _violation(text: str) -> list[str]:
    return [text] if "Content Security Policy" in text or "Trusted" in text else []


def _elsewhere(requested: str, url: str) -> list[str]:
    return [] if urlsplit(requested).netloc == urlsplit(url).netloc else [f"asked {requested}"]
