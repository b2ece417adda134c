"""A target's objects for Git: kustomize builds from them just what a rollout would apply, without secrets."""

import io
import json
import subprocess
import zipfile
from itertools import chain

import pytest
import yaml
from django.core.management import CommandError, call_command

from controlplane import actors
from controlplane.models import Membership, Project, User
from controlplane.services import api_key_create
from deployments import gitops, specs
from deployments.models import Account, Release, Target
from deployments.providers.base import provider_for
from deployments.runtimes.kubernetes.manifests import whole
from deployments.workloads import rendered_objects, workload_of
from tests.api.conftest import Api, assert_problem
from tests.kubernetes.kustomize import need_kustomize
from tests.kubernetes.shapes import EVERYTHING, SECRETS

pytestmark = pytest.mark.django_db


@pytest.fixture
def target(db):
    """A target of a cluster that nobody asks anything of."""
    project = Project.objects.create(name="default")
    account = Account.objects.create(
        project=project,
        name="cluster",
        provider="kubernetes",
        credentials={"server": "https://cluster.example.org:6443", "token": "the-account-s-own-token"},
        created_by="test",
    )
    release = Release.objects.create(
        project=project,
        number=3,
        image="aindusdb/api:0.3",
        config={"env": {"A": "1"}},
        digest="d",
        created_by="t",
    )
    engine = provider_for("kubernetes")
    given = {"routing": {"host": "search.example.org", "issuer": "letsencrypt"}}
    spec, _ = specs.withheld(dict(engine.spec_schema), specs.validated_spec(engine, given))
    return Target.objects.create(
        project=project,
        name="prod",
        provider="kubernetes",
        region="cluster",
        account=account,
        spec=spec,
        release=release,
        status="ready",
        secrets=SECRETS,
        outputs={"capabilities": EVERYTHING},
        desired_replicas=3,
        created_by="test",
    )


def applied(target) -> list[dict]:
    """What a rollout applies, with the job before it; Secrets are the cluster's own."""
    workload = workload_of(target)
    objects = chain(
        (one.document for one in rendered_objects(target, workload)),
        (whole.migration(workload, one).document for one in workload.revisions),
    )
    return [dict(one) for one in objects if one["kind"] != "Secret"]


def key(document: dict) -> tuple:
    return document["kind"], document["metadata"].get("namespace", ""), document["metadata"]["name"]


def built(folder) -> list[dict]:
    need_kustomize()
    made = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=True)
    assert made.stderr == ""
    return sorted(yaml.safe_load_all(made.stdout), key=key)


def test_kustomize_builds_what_a_rollout_applies(target, tmp_path):
    call_command("export_manifests", target="prod", out=str(tmp_path / "prod"))
    files = gitops.target_export(target, "kustomize")
    written = {
        str(path.relative_to(tmp_path / "prod")): path.read_text()
        for path in (tmp_path / "prod").rglob("*.*")
    }
    assert written == files == gitops.target_export(target, "kustomize")
    wanted = sorted(applied(target), key=key)
    assert len(wanted) > 12
    assert built(tmp_path / "prod") == wanted
    # Each file is one object, as it would be applied, to the last field and in its order.
    for one in wanted:
        text = files[f"objects/{one['kind'].lower()}-{one['metadata']['name']}.yaml"]
        assert json.dumps(yaml.safe_load(text)) == json.dumps(one)


@pytest.mark.parametrize("format", gitops.FORMATS)
def test_no_secret_is_in_it_and_every_one_is_told_of(target, format):
    files = gitops.target_export(target, format)
    whole_text = "\n".join(files.values())
    for secret in [*SECRETS.values(), "the-account-s-own-token"]:
        assert secret not in whole_text
    assert "***" not in whole_text, "what is starred would be applied as it stands"
    secrets = [one.document for one in rendered_objects(target) if one.document["kind"] == "Secret"]
    outside = {one["metadata"]["name"]: one for one in yaml.safe_load_all(files["external-secrets.yaml"])}
    assert len(secrets) >= 2 and set(outside) == {one["metadata"]["name"] for one in secrets}
    for one in secrets:
        name = one["metadata"]["name"]
        keys = set(one.get("data", {}))
        assert {entry["secretKey"] for entry in outside[name]["spec"]["data"]} == keys
        row = next(line for line in files["README.md"].splitlines() if line.startswith(f"| `{name}`"))
        assert all(f"`{key}`" in row for key in keys)


def test_an_argo_cd_application_of_it(target, tmp_path):
    options = {"repository": "https://git.example.org/p.git", "path": "deploy/prod", "revision": "main"}
    call_command("export_manifests", target="prod", out=str(tmp_path), format="argocd", **options)
    application = yaml.safe_load((tmp_path / "application.yaml").read_text())
    assert (application["apiVersion"], application["kind"]) == ("argoproj.io/v1alpha1", "Application")
    assert application["spec"]["source"] == {
        "repoURL": "https://git.example.org/p.git",
        "targetRevision": "main",
        "path": "deploy/prod",
    }
    assert application["spec"]["destination"]["server"] == "https://cluster.example.org:6443"
    assert "ServerSideApply=true" in application["spec"]["syncPolicy"]["syncOptions"]
    # The job is a hook before each sync; beside that, all is as it would be applied.
    made = built(tmp_path)
    hooks = [one["metadata"].pop("annotations") for one in made if one["kind"] == "Job"]
    assert [hook["argocd.argoproj.io/hook"] for hook in hooks] == ["PreSync"]
    assert made == sorted(applied(target), key=key)


def test_an_export_replaces_a_former_one_and_nothing_else(target, tmp_path):
    call_command("export_manifests", target="prod", out=str(tmp_path), format="argocd")
    (tmp_path / "objects" / "deployment-gone.yaml").write_text("former")
    (tmp_path / "mine.txt").write_text("kept")
    call_command("export_manifests", target="prod", out=str(tmp_path))
    assert not (tmp_path / "objects" / "deployment-gone.yaml").exists()
    assert not (tmp_path / "application.yaml").exists()
    assert (tmp_path / "mine.txt").read_text() == "kept"
    other = tmp_path / "other"
    other.mkdir()
    (other / "kustomization.yaml").write_text("resources: []\n")
    with pytest.raises(CommandError, match="no former export"):
        call_command("export_manifests", target="prod", out=str(other))
    Target.objects.create(
        project=target.project, name="here", provider="local", region="local", created_by="test"
    )
    with pytest.raises(CommandError, match="does not run in a cluster"):
        call_command("export_manifests", target="here", out=str(tmp_path / "here"))
    Target.objects.filter(pk=target.pk).update(secrets={})
    with pytest.raises(CommandError, match="provision it first"):
        call_command("export_manifests", target="prod", out=str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_over_rest_and_as_a_download(target, client, settings):
    actors.forget()
    _, text = api_key_create(project=target.project, name="ci", role="viewer", created_by="t")
    api = Api(text)
    shown = api.get("targets/prod/manifests?format=argocd&repository=https://git.example.org/p.git").json()
    assert (shown["target"]["name"], shown["format"]) == ("prod", "argocd")
    where = gitops.Repository("https://git.example.org/p.git")
    assert shown["files"] == gitops.target_export(target, "argocd", where)
    assert api.get("targets/prod/manifests").json()["files"] == gitops.target_export(target, "kustomize")
    assert_problem(api.get("targets/prod/manifests?format=helm"), 422, field="format")
    here = Target.objects.create(
        project=target.project, name="here", provider="local", region="local", created_by="test"
    )
    assert_problem(api.get("targets/here/manifests"), 409, "not_a_cluster")

    user = User.objects.create_user("vera", password="correct-horse-7")
    Membership.objects.create(user=user, project=target.project, role="viewer")
    client.force_login(user)
    page = client.get("/targets/prod/infrastructure/").content.decode()
    assert "/targets/prod/manifests/?format=kustomize" in page
    assert "manifests/?format" not in client.get(f"/targets/{here.name}/infrastructure/").content.decode()
    answer = client.get("/targets/prod/manifests/?format=kustomize")
    assert answer["Content-Disposition"] == 'attachment; filename="prod-kustomize.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    assert files == {f"prod/{path}": text for path, text in gitops.target_export(target, "kustomize").items()}
    assert client.get("/targets/prod/manifests/?format=kustomize").content == answer.content
