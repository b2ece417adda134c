"""Dependencies point one way, and the hot start imports no cloud."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
APPS = ("controlplane", "worker", "deployments", "vectors", "costs")
ALLOWED = {
    "controlplane": set(),
    "worker": {"controlplane"},
    "deployments": {"controlplane", "worker"},
    "costs": {"controlplane", "worker", "deployments"},
    "vectors": {"controlplane"},
}
VECTORS_MAY_USE = {"errors", "dialects", "ids", "env", "database", "embedded", "log"}
CLOUD_SDKS = ("boto3", "botocore", "azure", "google", "kubernetes")


def imports_of(path: Path):
    """(module, line) of every import, wherever it stands in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def sources(app: str):
    return [path for path in (ROOT / app).rglob("*.py") if "migrations" not in path.parts]


# The project's own wiring may name every app.
COMPOSITION = {"controlplane/urls.py", "controlplane/asgi.py", "controlplane/settings.py"}


@pytest.mark.parametrize("app", APPS)
def test_an_app_imports_only_what_is_below_it(app):
    wrong = []
    for path in sources(app):
        where = str(path.relative_to(ROOT))
        if where in COMPOSITION:
            continue
        for module, line in imports_of(path):
            top = module.split(".")[0]
            if top in APPS and top != app and top not in ALLOWED[app]:
                wrong.append(f"{where}:{line} imports {module}")
    assert not wrong


def test_vectors_uses_only_what_needs_no_control_plane_app():
    wrong = []
    for path in sources("vectors"):
        for module, line in imports_of(path):
            parts = module.split(".")
            if parts[0] == "controlplane" and len(parts) > 1 and parts[1] not in VECTORS_MAY_USE:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert not wrong


def test_providers_and_runtimes_know_no_models_or_views():
    wrong = []
    for folder in ("providers", "runtimes"):
        for path in (ROOT / "deployments" / folder).rglob("*.py"):
            for module, line in imports_of(path):
                parts = module.split(".")
                if parts[0] in APPS and set(parts) & {"models", "views", "forms", "services", "selectors"}:
                    wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert not wrong


# What every app's pages are built with: who may see them, how forms fail, how lists are paged.
FRAME = {"access", "forms", "lookup", "paging"}


def test_no_app_imports_the_views_of_another():
    wrong = []
    for app in APPS:
        for path in sources(app):
            where = str(path.relative_to(ROOT))
            if where in COMPOSITION:
                continue
            for module, line in imports_of(path):
                parts = module.split(".")
                if parts[0] not in APPS or parts[0] == app or len(parts) < 2:
                    continue
                framed = parts[:2] == ["controlplane", "pages"] and len(parts) > 2 and parts[2] in FRAME
                if parts[1] in {"views", "pages"} and not framed:
                    wrong.append(f"{where}:{line} imports {module}")
    assert not wrong


def test_cloud_sdks_are_imported_only_in_a_providers_client():
    wrong = []
    for app in APPS:
        for path in sources(app):
            for module, line in imports_of(path):
                if module.split(".")[0] in CLOUD_SDKS and path.name != "client.py":
                    wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert not wrong


def test_there_is_no_catch_all_module():
    names = {"utils", "common", "core", "helpers", "misc"}
    found = [path for app in APPS for path in (ROOT / app).rglob("*") if path.stem in names]
    assert not found
