"""Who calls, and what they may do: bearer tokens, client certificates, scripted authorisation."""

import fnmatch
import threading
from dataclasses import dataclass, field

from tests.simulators.kubernetes import errors


@dataclass(frozen=True)
class User:
    """A caller that showed who it is; `groups` as the authenticator adds them."""

    name: str
    groups: tuple[str, ...] = ()


ADMIN = User("kubernetes-admin", ("system:masters", "system:authenticated"))


@dataclass(frozen=True)
class Denial:
    """What is denied; every part is a pattern of the shell (`*` any)."""

    verb: str = "*"
    resource: str = "*"
    namespace: str = "*"
    group: str = "*"
    name: str = "*"
    user: str = "*"

    def covers(self, user: User, verb: str, group: str, resource: str, namespace: str, name: str) -> bool:
        pairs = (
            (self.verb, verb),
            (self.resource, resource),
            (self.namespace, namespace),
            (self.group, group),
            (self.name, name),
            (self.user, user.name),
        )
        return all(fnmatch.fnmatchcase(value, pattern) for pattern, value in pairs)


@dataclass
class Access:
    """Tokens, and what is denied. Everything that is not denied is allowed."""

    tokens: dict[str, User] = field(default_factory=dict)
    denials: list[Denial] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def deny(self, verb: str = "*", resource: str = "*", **parts: str) -> Denial:
        """From now on refuse such requests with 403 (`pods/log` names a subresource); give it to `allow`."""
        denial = Denial(verb, resource, **parts)
        with self._lock:
            self.denials.append(denial)
        return denial

    def allow(self, denial: Denial) -> None:
        with self._lock:
            self.denials.remove(denial)

    def authenticate(self, authorization: str, certificate: dict | None) -> User:
        """Raises 401 for a token that is not known, and for no credentials at all."""
        if authorization:
            scheme, _, token = authorization.partition(" ")
            user = self.tokens.get(token.strip()) if scheme.lower() == "bearer" else None
            if user is None:
                raise errors.unauthorized()
            return user
        if certificate:
            subject = {key: value for pairs in certificate.get("subject", ()) for key, value in pairs}
            groups = tuple(
                value
                for pairs in certificate.get("subject", ())
                for key, value in pairs
                if key == "organizationName"
            )
            return User(subject.get("commonName", ""), (*groups, "system:authenticated"))
        return User("system:anonymous", ("system:unauthenticated",))

    def allowed(
        self, user: User, verb: str, group: str, resource: str, namespace: str = "", name: str = ""
    ) -> bool:
        if user.name == "system:anonymous":
            return False
        return not any(
            denial.covers(user, verb, group, resource, namespace, name) for denial in list(self.denials)
        )

    def authorize(self, user: User, verb: str, resource, subresource: str, namespace: str, name: str) -> None:
        """Raises the 403 that the RBAC authoriser gives."""
        plural = f"{resource.plural}/{subresource}" if subresource else resource.plural
        if self.allowed(user, verb, resource.group, plural, namespace, name):
            return
        where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
        why = f'User "{user.name}" cannot {verb} resource "{plural}" in API group "{resource.group}"{where}'
        if name:
            raise errors.forbidden(resource, name, why)
        raise errors.StatusError(
            403,
            "Forbidden",
            f"{resource.qualified} is forbidden: {why}",
            {"group": resource.group, "kind": resource.plural}
            if resource.group
            else {"kind": resource.plural},
        )
