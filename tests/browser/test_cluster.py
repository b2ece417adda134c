"""The pages of a target in a cluster: pods with their problems, logs before a crash, events, objects."""

import subprocess
import sys

import pytest

from tests.browser.screenshots import ROOT
from tests.simulators.kubernetes import Cluster, Served, crash_loop, ready

NAME = "in-cluster"
WELL = {
    "/ready": Served(200, {"status": "ready"}),
    "/metrics": Served(200, 'aindusdb_api_requests_total{route="query",status="200"} 30\n'),
}
WROTE = (
    "2026-05-01T12:00:00.000Z INFO controlplane.api starting",
    "2026-05-01T12:00:00.100Z ERROR controlplane.api DATABASE_URL names a host that is not there: db.example",
)


def populate(cluster: Cluster, environment: dict, folder) -> None:
    """Three pods, of which the newest crashes again and again."""
    names: list[str] = []

    def is_third(pod: dict) -> bool:
        if pod["metadata"]["name"] not in names:
            names.append(pod["metadata"]["name"])
        return names.index(pod["metadata"]["name"]) == 2

    chosen = "app.kubernetes.io/name=aindusdb-api"
    cluster.pods.behave(chosen, ready(serve=WELL, logs=("2026-05-01T12:00:00.000Z INFO api serving",)))
    cluster.pods.behave(is_third, crash_loop(exit_code=3, logs=WROTE))
    kubeconfig = folder / "kubeconfig"
    cluster.kubeconfig(kubeconfig)
    done = subprocess.run(
        [sys.executable, "-m", "tests.browser.cluster", str(kubeconfig), NAME],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def cluster(site, tmp_path_factory):
    with Cluster(crds=("metrics",), speed=20) as cluster:
        populate(cluster, site.environment, tmp_path_factory.mktemp("cluster"))
        yield cluster


def no_sideways_scroll(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("width", [1440, 390])
def test_pods_events_logs_and_objects(open_page, cluster, width):
    page = open_page(width=width)
    base = f"/targets/{NAME}/"
    page.goto(base)
    # What is seen comes in by itself, within seconds.
    problem = page.locator(".problem").first
    problem.wait_for()
    assert "ends as soon as it starts" in problem.inner_text()
    assert "exit code 3" in problem.inner_text()
    assert page.get_by_text("of the stable revision are ready").first.is_visible()
    assert no_sideways_scroll(page)

    page.get_by_role("link", name="before the crash").first.click()
    page.wait_for_url("**/logs/**previous=1**")
    lines = page.locator("#log-lines")
    assert "DATABASE_URL names a host that is not there" in lines.inner_text()
    assert page.get_by_label("Containers").input_value() == "1"
    assert no_sideways_scroll(page)

    page.goto(f"{base}events/?kind=warning")
    page.get_by_text("BackOff").first.wait_for()
    assert no_sideways_scroll(page)

    page.goto(f"{base}infrastructure/")
    page.locator("#objects table").wait_for()
    text = page.locator("#objects").inner_text()
    assert "aindusdb-api" in text and "2 of 3 pods ready" in text
    assert no_sideways_scroll(page)


def test_a_cluster_that_is_gone_is_told(open_page, cluster):
    fault = cluster.refuse(hang_up=True)
    try:
        page = open_page()
        page.goto(f"/targets/{NAME}/")
        page.get_by_text("The cluster cannot be read since").wait_for()
        page.goto(f"/targets/{NAME}/infrastructure/")
        page.get_by_text("The cluster could not be asked").wait_for()
    finally:
        fault.stop()
