"""Pictures of every page: wide and narrow, light and dark, on a real installation of its own.

`script/screenshots DIR` starts `manage.py up` on a data directory of its own, fills it by
`tests.browser.seed`, takes the pictures and stops it again. With `--url`, `--password` and `--facts` it
looks at one that runs already.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from tests.browser.chromium import executable, launched, sign_in
from tests.browser.crawl import pages

ROOT = Path(__file__).resolve().parents[2]
WIDTHS = {"1440": (1440, 900), "390": (390, 844)}
TALLEST = 2600
START_SECONDS = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def installation(seeded: bool = True):
    """(url, administrator's password, facts, environment) of an own installation, stopped afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="aindus-pages-"))
    folder.chmod(0o711)
    port = free_port()
    environment = {
        key: value for key, value in os.environ.items() if key not in ("DATABASE_URL", "REDIS_URL")
    } | {"AINDUS_DATA_DIR": str(folder / "data")}
    log = (folder / "up.log").open("w+")
    up = subprocess.Popen(
        [sys.executable, "manage.py", "up", "--port", str(port)],
        cwd=ROOT,
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        password = _password(up, folder / "up.log")
        facts = {}
        if seeded:
            done = subprocess.run(
                [sys.executable, "-m", "tests.browser.seed"],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(f"seeding failed:\n{done.stderr}\n{_end(folder / 'up.log')}")
            facts = json.loads(done.stdout)
        yield f"http://127.0.0.1:{port}", password, facts, environment
    finally:
        up.send_signal(signal.SIGTERM)
        try:
            up.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(up.pid, signal.SIGKILL)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _password(up, log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        text = log.read_text()
        if found := re.search(r"with the password (\S+)", text):
            return found[1]
        if up.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"manage.py up did not start:\n{log.read_text()[-4000:]}")


def _end(log: Path) -> str:
    return log.read_text()[-4000:]


def busy(environment: dict) -> str:
    """Start something that runs; its operation's id."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.browser.seed", "busy"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)["running_operation"]


def take(url: str, password: str, facts: dict, folder: Path, only: str = "", environment=None) -> int:
    """Write the pictures as NAME-WIDTH-SCHEME.png; the number of them."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with launched() as browser:
        for scheme in ("light", "dark"):
            for label, (width, height) in WIDTHS.items():
                if environment:
                    facts = facts | {"running_operation": busy(environment)}
                context = browser.new_context(
                    viewport={"width": width, "height": height},
                    color_scheme=scheme,
                    reduced_motion="reduce",
                    timezone_id="Europe/Berlin",
                )
                page = context.new_page()
                page.goto(f"{url}/sign-in/")
                if re.search(only, "sign-in"):
                    page.screenshot(path=folder / f"sign-in-{label}-{scheme}.png")
                    count += 1
                sign_in(page, url, "admin", password)
                for name, address in _order(pages(facts)):
                    if re.search(only, name):
                        page.goto(url + address)
                        page.wait_for_timeout(250)
                        _picture(page, folder / f"{name}-{label}-{scheme}.png", width, height)
                        count += 1
                for name, steps in overlays(facts).items():
                    if re.search(only, name):
                        steps(page, url)
                        page.wait_for_timeout(300)
                        page.screenshot(path=folder / f"{name}-{label}-{scheme}.png")
                        count += 1
                context.close()
    return count


def _order(found):
    """What changes by the second first, while it still runs."""
    found = list(found)
    return sorted(found, key=lambda one: one[0] not in ("operation-running", "overview", "target"))


def _picture(page, path: Path, width: int, height: int) -> None:
    if page.locator("#picture").count():
        page.locator("[data-loading]").wait_for(state="hidden")
    tall = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": width, "height": max(height, min(tall, TALLEST))})
    page.screenshot(path=path)
    page.set_viewport_size({"width": width, "height": height})


def overlays(facts: dict) -> dict:
    """What opens above a page: {name: steps that open it}."""
    target = f"/targets/{facts['target']}/"

    def palette(page, url):
        page.goto(url)
        page.keyboard.press("Control+k")

    def dialog(path):
        def open_it(page, url):
            page.goto(url + target)
            if path == "destroy":
                page.goto(f"{url}{target}settings/")
            page.locator(f"a[data-dialog][href$='{path}/']").last.evaluate("element => element.click()")
            page.locator("dialog#dialog[open]").wait_for()

        return open_it

    def keys(page, url):
        page.goto(url)
        page.keyboard.press("?")

    def drawer(page, url):
        page.goto(url)
        if page.locator("[data-drawer]").is_visible():
            page.locator("[data-drawer]").click()

    def crosshair(page, url):
        page.goto(f"{url}{target}metrics/?range=24h")
        page.locator("svg.plot").nth(2).hover(position={"x": 160, "y": 60})

    def new_collection(page, url):
        page.goto(f"{url}{target}data/")
        page.locator("a[data-dialog][href$='new-collection/']").first.click()
        page.locator("dialog#dialog[open]").wait_for()
        page.get_by_text("Fields and full text").click()
        page.get_by_role("button", name="Add a field").click()

    def build(page, url):
        page.goto(f"{url}{target}data/{facts['collection']}/build/")
        page.get_by_role("button", name="See what it needs").click()
        page.locator("dialog#dialog").get_by_text("Memory needed").wait_for()

    def picture(page, url):
        page.goto(f"{url}{target}data/{facts['collection']}/picture/")
        page.locator("#picture canvas").focus()
        page.keyboard.press("ArrowRight")

    return {
        "dialog-new-collection": new_collection,
        "collection-build-needs": build,
        "collection-picture-point": picture,
        "palette": palette,
        "keys": keys,
        "drawer": drawer,
        "metrics-crosshair": crosshair,
        "dialog-roll-out": dialog("roll-out"),
        "dialog-scale": dialog("scale"),
        "dialog-destroy": dialog("destroy"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/screenshots", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--only", default="", help="a regular expression of page names")
    parser.add_argument("--url", help="an installation that runs already")
    parser.add_argument("--password", help="its administrator's password")
    parser.add_argument("--facts", type=Path, help="what tests.browser.seed printed for it")
    options = parser.parse_args()
    if executable() is None:
        sys.stderr.write("No browser is installed: install chromium or google-chrome.\n")
        return 1
    if options.url:
        facts = json.loads(options.facts.read_text())
        count = take(options.url, options.password, facts, options.folder, options.only)
    else:
        with installation() as (url, password, facts, environment):
            count = take(url, password, facts, options.folder, options.only, environment)
    sys.stdout.write(f"{count} pictures in {options.folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
