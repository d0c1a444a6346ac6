"""Makes the README's pictures: runs a real study and takes its page, light and dark, while it runs.

    python docs/make_screenshots.py

Needs Chromium (`apt-get install chromium`) and the packages of the extra `dev`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
STUDY = {
    "name": "Handwritten digits, boosted trees",
    "workload": "xgboost",
    "optimizer": "asha",
    "budget": {"trials": 200},
    "parallel": 2,
}
# Far enough for curves to be seen, and still running.
SHOWN_FROM = 0.5
PATIENCE_SECONDS = 240
LINE_COLOUR = "() => document.querySelector('#best-chart').data[0].line.color"
IS_RECOLOURED = "before => document.querySelector('#best-chart').data[0].line.color !== before"
BEST_IS_DRAWN = """() => Number(document.querySelector('#best-chart').data?.[0].y.at(-1).toPrecision(4))
    === Number(document.querySelector('.figure').textContent)"""


@contextmanager
def served(data_dir: Path) -> Iterator[httpx.Client]:
    """A service of its own, ready to take studies."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tunewright.cli", "serve", "--data-dir", str(data_dir), "--port", str(port)]
    # Ray's sockets need a short path.
    environment = {"TUNEWRIGHT_RAY_TEMP_DIR": f"/tmp/tw-{os.getpid()}", **os.environ}
    process = subprocess.Popen(command, env=environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_until(lambda: ready(client))
            yield client
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


def ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the service or its study did not get on")
        time.sleep(0.2)


def take(page: Page, scheme: str) -> None:
    file = IMAGES / f"study-{scheme}.png"
    page.screenshot(path=file)
    print(f"{file}: {file.stat().st_size // 1000} kB")


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, served(Path(directory)) as client, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        study = client.post("/v1/studies", json=STUDY).raise_for_status().json()["id"]
        page = browser.new_page(viewport={"width": 1400, "height": 1000}, reduced_motion="reduce")
        page.goto(f"{client.base_url}/studies/{study}")
        wait_until(lambda: client.get(f"/v1/studies/{study}").json()["progress"] >= SHOWN_FROM)
        page.wait_for_function(BEST_IS_DRAWN)
        take(page, "light")
        before = page.evaluate(LINE_COLOUR)
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(IS_RECOLOURED, arg=before)
        take(page, "dark")
        browser.close()


if __name__ == "__main__":
    main()
