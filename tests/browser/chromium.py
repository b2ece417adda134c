"""The browser that tests and screenshots drive: Debian's chromium, or an installed Chrome."""

import os
import shutil
from contextlib import contextmanager

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def executable() -> str | None:
    """The path of an installed browser, or None."""
    chosen = os.environ.get("AINDUS_BROWSER")
    if chosen is not None:
        return chosen or None
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def launched():
    """A running browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def sign_in(page, url: str, name: str, password: str) -> None:
    """Sign in and come to the overview."""
    page.goto(f"{url}/sign-in/")
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{url}/")
