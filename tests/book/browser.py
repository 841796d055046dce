"""A headless Chromium or Chrome without network, and what the page tests ask it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import NoSuchDriverException
from selenium.webdriver.chrome.service import Service

Driver = webdriver.Chrome
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
LOCAL = ("file:", "data:", "blob:", "about:", "chrome:")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # containers and CI run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no name resolves: a foreign request fails
    "--window-size=1280,1000",
    "--hide-scrollbars",
)
SCRIPTS = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")


class NoBrowserError(RuntimeError):
    """No Chromium or Chrome, or no driver for it."""


def required() -> bool:
    """Return whether a missing browser is a failure: in continuous integration."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def find() -> str:
    """Return the path of a Chromium or Chrome; raise ``NoBrowserError`` if there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    found = found or (MAC if Path(MAC).exists() else None)
    if found is None:
        raise NoBrowserError(f"none of {', '.join(NAMES)} is on PATH; install one and its driver")
    return found


def start() -> Driver:
    """Start the browser; raise ``NoBrowserError`` if it or its driver is not there."""
    options = webdriver.ChromeOptions()
    options.binary_location = find()
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    try:
        # Without a chromedriver on PATH selenium looks for one itself (and may download it).
        return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    except NoSuchDriverException as exc:
        raise NoBrowserError(f"no chromedriver for {options.binary_location}: {exc.msg}") from exc


def open_page(driver: Driver, page: Path) -> None:
    """Open a page from disk and wait until formulas and widgets are drawn."""
    for log in ("browser", "performance"):
        driver.get_log(log)  # what an earlier page left
    driver.set_script_timeout(60)
    driver.get(page.as_uri())
    driver.execute_script(SCRIPTS)
    driver.execute_async_script("book.settled().then(arguments[0])")


def foreign_requests(driver: Driver) -> list[str]:
    """Return the addresses asked for since the page was opened that are not local."""
    events = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    asked = (
        event["params"].get("request", {}).get("url") or event["params"].get("url", "")
        for event in events
        if event["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated")
    )
    return sorted({url for url in asked if not url.startswith(LOCAL)})


def console_errors(driver: Driver) -> list[str]:
    """Return what the page reported as severe since it was opened."""
    entries = driver.get_log("browser")
    return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]


def screenshot(driver: Driver, path: Path) -> None:
    """Save the whole page as an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height = driver.execute_script("return document.documentElement.scrollHeight")
    driver.set_window_size(1280, min(height + 150, 16_000))
    driver.save_screenshot(str(path))
    driver.set_window_size(1280, 1000)
