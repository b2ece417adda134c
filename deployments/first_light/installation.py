"""Starts an installation, signs in, runs the main job, starts it a second time and stops it."""

import contextlib
import http.cookiejar
import re
import secrets
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from controlplane.embedded import Layout
from deployments.first_light.client import Api
from deployments.first_light.documents import Documents, generated
from deployments.first_light.job import MainJob, Steps, expect, until

FIRST_START_SECONDS = 30
SECOND_START_SECONDS = 8


class Installation:
    """The commands of one data directory (AINDUS_DATA_DIR in `environment`) and port."""

    def __init__(self, *, environment: dict[str, str], manage: list[str], host: str, port: int):
        self.environment = environment
        self.manage = manage
        self.host = host
        self.port = port
        self.data_dir = Path(environment["AINDUS_DATA_DIR"])
        self.url = f"http://{host}:{port}"
        self.password = ""

    @property
    def database_url(self) -> str:
        return self.environment.get("DATABASE_URL") or Layout(self.data_dir).database_url

    def command(self, *arguments: str) -> str:
        """What a command prints; its error text when it fails."""
        done = subprocess.run(
            [*self.manage, *arguments], env=self.environment, capture_output=True, text=True, timeout=300
        )
        expect(
            done.returncode == 0, f"manage.py {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}"
        )
        return done.stdout

    def start(self) -> str:
        said = self.command("up", "--detach", "--host", self.host, "--port", str(self.port))
        found = re.search(r"with the password (\S+)", said)
        if found:
            self.password = found[1]
        return self.url

    def sign_in(self) -> None:
        """Through the page's own form, as a browser does, up to the dashboard."""
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        )
        with opener.open(f"{self.url}/sign-in/", timeout=30) as page:
            token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.read().decode())
        expect(token, "the sign-in page has no form")
        fields = {"csrfmiddlewaretoken": token[1], "username": "admin", "password": self.password}
        data = urllib.parse.urlencode(fields).encode()
        with opener.open(urllib.request.Request(f"{self.url}/sign-in/", data), timeout=30) as page:
            expect(not page.url.rstrip("/").endswith("/sign-in"), "the password is not taken")
            expect(page.status == 200, f"the dashboard answered {page.status}")


def run(
    *,
    environment: dict[str, str],
    manage: list[str],
    host: str,
    port: int,
    say: Callable[[str], object],
    documents: Documents | None = None,
) -> list[str]:
    """Everything; the faults, none if all worked. Whatever was started is stopped again."""
    steps = Steps(say)
    installation = Installation(environment=environment, manage=manage, host=host, port=port)
    began = time.monotonic()
    if not steps.run("start", installation.start):
        return steps.faults
    with contextlib.ExitStack() as stack:
        # Also after Ctrl-C.
        stack.callback(steps.run, "stop", lambda: installation.command("down").strip())
        if installation.password:
            steps.run("sign in and see the dashboard", lambda: _signed_in(installation, began))
        _work(installation, steps, documents or generated())
        steps.run("stop", lambda: installation.command("down").strip())
        again = time.monotonic()
        steps.run("start a second time", lambda: _second_start(installation, again))
    return steps.faults


def _signed_in(installation: Installation, began: float) -> str:
    installation.sign_in()
    seconds = time.monotonic() - began
    expect(seconds <= FIRST_START_SECONDS, f"{seconds:.1f} s since the start, over {FIRST_START_SECONDS} s")
    return f"{seconds:.1f} s since the start"


def _second_start(installation: Installation, began: float) -> str:
    installation.start()
    if installation.password:
        installation.sign_in()
    seconds = time.monotonic() - began
    expect(seconds <= SECOND_START_SECONDS, f"{seconds:.1f} s, over {SECOND_START_SECONDS} s")
    return f"{seconds:.1f} s to the dashboard" if installation.password else f"{seconds:.1f} s"


def _work(installation: Installation, steps: Steps, documents: Documents) -> None:
    unique = secrets.token_hex(3)
    keys: list[str] = []

    def create_key() -> None:
        name = f"first-light-{unique}"
        keys.append(installation.command("create_api_key", name, "--role", "admin").strip())

    if not steps.run("create an API key", create_key):
        return
    api = Api(installation.url, keys[0])

    def first_target_ready() -> None:
        until(
            lambda: api.get("/api/v1/targets/local")["status"] == "ready", 60, "the target `local` is ready"
        )

    if installation.password:
        steps.run("the target of the first start is ready", first_target_ready)
    MainJob(
        api=api,
        documents=documents,
        steps=steps,
        name=f"first-light-{unique}",
        data_dir=installation.data_dir,
        database_url=installation.database_url,
    ).run()
    steps.run("the doctor finds no fault", lambda: installation.command("doctor") and "")
