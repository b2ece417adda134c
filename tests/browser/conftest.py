"""One seeded installation and one browser for all tests of this folder."""

import os
import re
from types import SimpleNamespace

import pytest

from tests.browser import chromium
from tests.browser.screenshots import installation


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/browser/" in str(item.path):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser():
    if chromium.executable() is None:
        if os.environ.get("CI"):
            pytest.fail("No browser is installed: install chromium or google-chrome.")
        pytest.skip("no browser is installed")
    with chromium.launched() as running:
        yield running


@pytest.fixture(scope="session")
def site(browser):
    """A running installation: url, password of `admin`, facts of what was seeded."""
    with installation() as (url, password, facts, environment):
        yield SimpleNamespace(url=url, password=password, facts=facts, environment=environment)


class Watched:
    """What a page must not do: write errors to the console, or ask another host for anything."""

    def __init__(self, page, url: str):
        self.errors: list[str] = []
        self.foreign: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._request(request, url))

    def _console(self, message):
        # The browser itself reports an answer of 404 or 422; the test that asked for it knows.
        # Leaving a page ends its polls, of which htmx says these two; a failed one says htmx:sendError.
        expected = r"status of (404|403|422|503)|^htmx:(afterRequest|sendAbort),"
        if message.type == "error" and not re.search(expected, message.text):
            self.errors.append(message.text)

    def _request(self, request, url):
        if not request.url.startswith((url, "data:", "blob:")):
            self.foreign.append(request.url)


@pytest.fixture(scope="session")
def state(browser, site):
    """The cookies of the signed-in administrator."""
    context = browser.new_context()
    page = context.new_page()
    chromium.sign_in(page, site.url, "admin", site.password)
    kept = context.storage_state()
    context.close()
    return kept


@pytest.fixture
def open_page(browser, site, state):
    """A page of the signed-in administrator; `watched` of it is checked at the end of the test."""
    contexts = []

    def make(signed_in: bool = True, width: int = 1440, height: int = 900, **options):
        context = browser.new_context(
            base_url=site.url,
            viewport={"width": width, "height": height},
            storage_state=state if signed_in else None,
            reduced_motion="reduce",
            **options,
        )
        context.set_default_timeout(15_000)
        page = context.new_page()
        contexts.append((context, Watched(page, site.url)))
        return page

    yield make
    for context, watched in contexts:
        context.close()
        assert watched.errors == []
        assert watched.foreign == []


@pytest.fixture
def page(open_page):
    return open_page()
