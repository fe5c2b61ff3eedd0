"""Take the pictures of docs/results.md from MLflow's own UI, by the clicks it describes, and README's of the report.

    python scripts/screenshots.py [--root STUDY] [--profile PROFILE] [--out FOLDER]

Needs Chromium or Chrome on the PATH, or playwright's own (`playwright install chromium`).
"""

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH = 1440


def main() -> None:
    """Serve the study's runs, drive the UI and write docs/images/{mlflow_*,report*}.png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="the study's repository, with mlflow.db")
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images")
    options = parser.parse_args()
    if not (options.root / "mlflow.db").is_file():
        sys.exit(f"error: {options.root}: no mlflow.db; make repro first")
    with mlflow_ui(options.root / "mlflow.db") as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=next(filter(None, map(shutil.which, BROWSERS)), None), args=FLAGS
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": 640})
        page.set_default_timeout(60_000)
        take(page, address, options.profile, options.out)
        take_report(browser, options.root / "reports" / options.profile / "index.html", options.out)
        browser.close()


def take(page: Page, address: str, profile: str, out: Path) -> None:
    """The pictures, in the order of the page."""

    def shoot(name: str, height: int, shown: Locator) -> None:
        page.set_viewport_size({"width": WIDTH, "height": height})
        shown.wait_for()
        # the pointer would leave a tip, and the plots move into place
        page.mouse.move(0, 0)
        page.wait_for_timeout(3000)
        page.screenshot(path=out / f"mlflow_{name}.png")

    cell = page.get_by_role("link", name="sweep speech_remix_prob=").first
    page.goto(address)
    page.get_by_role("button", name="Model training").click()
    page.get_by_role("link", name=f"vocalremix-{profile}").first.click()
    page.get_by_role("button", name="Close", exact=True).click()
    shoot("runs", 480, page.get_by_role("link", name="train_full", exact=True))
    page.get_by_role("button", name="Views").click()
    page.get_by_role("menuitem", name=re.compile("^sweep ")).click()
    shoot("table", 560, cell)
    page.locator("label", has=page.locator("input[value=CHART]")).click()
    # plots are drawn when they come into sight
    shoot("charts", 1080, page.locator(".js-plotly-plot").nth(2))
    cell.click()
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("excerpt", exact=True).click()
    page.get_by_text(".flac").click()
    shoot("excerpt", 820, page.locator("audio"))


def take_report(browser: Browser, address: Path, out: Path) -> None:
    """The report as README shows it: on a wide screen by day, its player on a phone by night."""
    wide = browser.new_page(viewport={"width": 1200, "height": 1760})
    wide.goto(address.resolve().as_uri())
    wide.wait_for_load_state("networkidle")
    wide.screenshot(path=out / "report.png")
    phone = browser.new_page(viewport={"width": 390, "height": 780}, color_scheme="dark", device_scale_factor=1.5)
    phone.goto(f"{address.resolve().as_uri()}#listen")
    phone.get_by_role("radio", name="initial,").first.check()
    phone.locator(".excerpt").first.evaluate("excerpt => scrollBy(0, excerpt.getBoundingClientRect().top - 8)")
    phone.wait_for_timeout(1000)
    phone.screenshot(path=out / "report_phone.png")


@contextmanager
def mlflow_ui(database: Path) -> Iterator[str]:
    """Serve a store on a free port while the block runs; yields the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", f"sqlite:///{database.resolve()}"),
            *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        ],
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until_served(f"http://127.0.0.1:{port}/health", server)
        yield f"http://127.0.0.1:{port}/"
    finally:
        # mlflow's server is a process of its own below the one that was started
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def wait_until_served(address: str, server: "subprocess.Popen[bytes]") -> None:
    """Return when the server answers; ends the program when it stops or takes more than two minutes."""
    deadline = time.monotonic() + 120
    while server.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    sys.exit("error: mlflow ui does not start; run `make ui` to see why")


if __name__ == "__main__":
    main()
