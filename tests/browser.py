"""Chromium for tests that open a page; run as a program, it exits with 0 where one is found."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ON_A_MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium(playwright: Playwright) -> str | None:
    installed = filter(None, map(shutil.which, PROGRAMS))
    return next(filter(runs, (*installed, ON_A_MAC, playwright.chromium.executable_path)), None)


def runs(program: str) -> bool:
    if not Path(program).exists():
        return False
    done = subprocess.run([program, "--version"], capture_output=True, text=True)
    # a snap, or Ubuntu's stub of one, does not see the tests' files in /tmp
    return done.returncode == 0 and "snap" not in done.stdout


@pytest.fixture(scope="module")  # no longer: while it lasts, no other test of the process can use asyncio
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        program = find_chromium(playwright)
        if program is None:
            pytest.skip("no Chromium is installed; scripts/install-programs chromium")
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()


@contextmanager
def quiet_page(browser: Browser, **options: Any) -> Iterator[Page]:
    """A page that must raise no error, log no warning and ask nothing of a network; `options` are new_page's."""
    troubles: list[str] = []
    page = browser.new_page(**options)
    page.on("console", lambda message: troubles.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: troubles.append(request.url) if not is_local(request.url) else None)
    try:
        yield page
    finally:
        page.close()
    assert troubles == []


def is_local(url: str) -> bool:
    return url.startswith(("file:", "data:", "blob:"))


if __name__ == "__main__":
    with sync_playwright() as playwright:
        sys.exit(find_chromium(playwright) is None)
