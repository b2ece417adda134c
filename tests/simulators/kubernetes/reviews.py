"""Reviews: may I, who am I."""

from tests.simulators.kubernetes import errors
from tests.simulators.kubernetes.access import User
from tests.simulators.kubernetes.server import Answer, parsed


class Reviews:
    """Answered from the cluster's `Access`; nothing is stored."""

    def __init__(self, cluster):
        self.access = cluster.access

    def answer(self, call) -> Answer:
        try:
            body = parsed(call.request) or {}
        except ValueError as error:
            raise errors.bad_request(str(error)) from None
        spec = body.get("spec") or {}
        made = {
            "kind": call.resource.kind,
            "apiVersion": call.resource.api_version,
            "metadata": {"creationTimestamp": None},
            "spec": spec,
            "status": getattr(self, f"_{call.resource.plural}")(call, spec),
        }
        return Answer(201, json=made)

    def _selfsubjectaccessreviews(self, call, spec: dict) -> dict:
        return self._reviewed(call.user, spec)

    def _subjectaccessreviews(self, call, spec: dict) -> dict:
        return self._reviewed(User(spec.get("user", ""), tuple(spec.get("groups") or ())), spec)

    def _reviewed(self, user: User, spec: dict) -> dict:
        wanted = spec.get("resourceAttributes")
        if wanted is None:
            return {"allowed": True, "reason": "RBAC: allowed"}
        plural = wanted.get("resource", "*")
        if wanted.get("subresource"):
            plural += f"/{wanted['subresource']}"
        allowed = self.access.allowed(
            user,
            wanted.get("verb", "*"),
            wanted.get("group", ""),
            plural,
            wanted.get("namespace", ""),
            wanted.get("name", ""),
        )
        return (
            {"allowed": True, "reason": "RBAC: allowed by ClusterRoleBinding"}
            if allowed
            else {"allowed": False}
        )

    def _selfsubjectrulesreviews(self, call, spec: dict) -> dict:
        return {
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": bool(self.access.denials),
        }

    @staticmethod
    def _selfsubjectreviews(call, spec: dict) -> dict:
        return {"userInfo": {"username": call.user.name, "groups": list(call.user.groups)}}

    def _tokenreviews(self, call, spec: dict) -> dict:
        user = self.access.tokens.get(spec.get("token", ""))
        if user is None:
            return {"authenticated": False, "error": "invalid bearer token"}
        return {"authenticated": True, "user": {"username": user.name, "groups": list(user.groups)}}
