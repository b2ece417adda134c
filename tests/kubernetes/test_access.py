"""What of a kubeconfig is taken, and what is refused and why."""

import base64

import pytest
import yaml

from deployments.errors import Invalid
from deployments.providers.base import Secret, provider_for
from deployments.runtimes.kubernetes.access import in_cluster_access, kubeconfig_access

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
ENCODED = base64.b64encode(PEM.encode()).decode()


def kubeconfig(cluster: dict | None = None, user: dict | None = None, **more) -> str:
    given = {"server": "https://10.0.0.1:6443", "certificate-authority-data": ENCODED} | (cluster or {})
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "x"}},
            {"name": "other", "context": {"cluster": "c2", "user": "u2"}},
        ],
        "clusters": [
            {"name": "c", "cluster": {key: value for key, value in given.items() if value is not None}},
            {"name": "c2", "cluster": {"server": "https://10.0.0.2"}},
        ],
        "users": [
            {"name": "u", "user": {"token": "abc"} if user is None else user},
            {"name": "u2", "user": {"exec": {"command": "aws"}}},
        ],
    }
    return yaml.safe_dump(config | more)


def test_only_what_is_needed_is_kept():
    access, shown = kubeconfig_access(kubeconfig())
    assert access.server == "https://10.0.0.1:6443"
    assert access.certificate_authority == PEM
    assert access.credentials.values == {"token": "abc"}
    assert shown == {"context": "one", "server": access.server, "user": "u"}
    certificate = {"client-certificate-data": ENCODED, "client-key-data": ENCODED}
    access, _ = kubeconfig_access(kubeconfig(user=certificate))
    assert access.credentials.values == {"client_certificate": PEM, "client_key": PEM}


REFUSED = [
    ({"user": {"exec": {"command": "aws", "args": ["eks"]}}}, "exec", "run a program"),
    ({"user": {"auth-provider": {"name": "gcp"}}}, "auth-provider", "removed"),
    ({"user": {"tokenFile": "/etc/passwd"}}, "tokenFile", "file"),
    ({"user": {"client-certificate": "/a", "client-key": "/b"}}, "client-certificate", "flatten"),
    ({"user": {"token": "t", "as": "admin"}}, "as", "impersonation"),
    ({"user": {"token": "t", "as-groups": ["system:masters"]}}, "as-groups", "impersonation"),
    ({"user": {"username": "u"}}, "username", "token"),
    ({"user": {"token": "t", "new-field": "x"}}, "new-field", "not known"),
    ({"cluster": {"insecure-skip-tls-verify": True}}, "insecure-skip-tls-verify", "anybody"),
    ({"cluster": {"proxy-url": "http://10.0.0.9"}}, "proxy-url", "elsewhere"),
    ({"cluster": {"certificate-authority": "/etc/ssl/ca.pem"}}, "certificate-authority", "file"),
    ({"cluster": {"tls-server-name": "other"}}, "tls-server-name", "certificate"),
]


@pytest.mark.parametrize(("given", "field", "reason"), REFUSED, ids=[one[1] for one in REFUSED])
def test_what_is_refused_is_named_with_the_reason(given, field, reason):
    with pytest.raises(Invalid) as caught:
        kubeconfig_access(kubeconfig(**given))
    assert f"`{field}`" in str(caught.value)
    assert reason in str(caught.value)
    assert caught.value.remedy
    assert caught.value.permanent


@pytest.mark.parametrize(
    "server",
    [
        "http://10.0.0.1",
        "ftp://10.0.0.1",
        "https://",
        "https://user:password@10.0.0.1",
        "https://10.0.0.1/?a=b",
        "https://10.0.0.1:99999",
        None,
        7,
    ],
)
def test_only_plain_https_addresses(server):
    with pytest.raises(Invalid):
        kubeconfig_access(kubeconfig(cluster={"server": server}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just words",
        "a: [",
        "- 1",
        "kind: Pod",
        "kind: Config",
        kubeconfig(**{"current-context": "gone"}),
        kubeconfig(user={}),
        kubeconfig(user={"token": "two words"}),
        kubeconfig(user={"token": 7}),
        kubeconfig(user={"client-certificate-data": ENCODED}),
        kubeconfig(cluster={"certificate-authority-data": "!!"}),
        kubeconfig(cluster={"certificate-authority-data": base64.b64encode(b"x").decode()}),
        "a: &a [x, x]\nb: [*a, *a]\n",
        "x" * 300_000,
        "!!python/object/apply:os.system ['true']",
    ],
)
def test_what_is_no_kubeconfig_is_told_plainly(text):
    with pytest.raises(Invalid) as caught:
        kubeconfig_access(text)
    assert str(caught.value)


def test_only_the_chosen_context_counts():
    kubeconfig_access(kubeconfig())
    with pytest.raises(Invalid, match="exec"):
        kubeconfig_access(kubeconfig(), "other")


def test_this_cluster_is_given_only_where_it_is_allowed(settings, monkeypatch, tmp_path):
    engine = provider_for("kubernetes")
    with pytest.raises(Invalid, match="not given") as caught:
        engine.accept_credentials({"in_cluster": True})
    assert "AINDUS_IN_CLUSTER_ACCESS" in caught.value.remedy
    settings.IN_CLUSTER_ACCESS = True
    accepted = engine.accept_credentials({"in_cluster": True})
    assert accepted.secrets.values == {"in_cluster": "true"}
    (problem,) = engine.check_credentials(accepted.secrets)
    assert problem.code == "not_in_cluster"
    with pytest.raises(Invalid):
        engine.accept_credentials({"in_cluster": True, "kubeconfig": kubeconfig()})
    with pytest.raises(Invalid):
        engine.accept_credentials({})
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "ca.crt").write_text(PEM)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    access = in_cluster_access(tmp_path)
    assert access.server == "https://[fd00::1]:443"
    assert access.credentials.values == {"token": "first"}
    (tmp_path / "token").write_text("second\n")
    assert in_cluster_access(tmp_path).credentials.values == {"token": "second"}
    settings.IN_CLUSTER_ACCESS = False
    (problem,) = engine.check_credentials(Secret({"in_cluster": "true"}))
    assert problem.code == "in_cluster_refused"
