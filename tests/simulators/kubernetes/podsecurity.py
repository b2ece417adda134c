"""The Pod Security Standards: what the levels baseline and restricted refuse, in the admission's words."""

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_CAPABILITIES = {
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
}


def violations(level: str, spec: dict) -> list[str]:
    """What `spec` violates; empty at level privileged."""
    if level not in ("baseline", "restricted"):
        return []
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    found = _baseline(spec, containers)
    if level == "restricted":
        found += _restricted(spec, containers)
    return found


def _context(container: dict) -> dict:
    return container.get("securityContext") or {}


def _named(containers: list[dict]) -> str:
    names = [f'"{container["name"]}"' for container in containers]
    return f"container {names[0]}" if len(names) == 1 else f"containers {', '.join(names)}"


def _baseline(spec: dict, containers: list[dict]) -> list[str]:
    found = []
    spaces = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    if spaces:
        found.append(f"host namespaces ({', '.join(spaces)})")
    bad = [c for c in containers if _context(c).get("privileged")]
    if bad:
        found.append(f"privileged ({_named(bad)} must not set securityContext.privileged=true)")
    added = [
        (c, name)
        for c in containers
        for name in (_context(c).get("capabilities") or {}).get("add", ())
        if name not in _CAPABILITIES
    ]
    if added:
        names = ", ".join(f'"{name}"' for _, name in added)
        bad = [c for c, _ in added]
        found.append(
            f"non-default capabilities ({_named(bad)} must not include {names} in "
            "securityContext.capabilities.add)"
        )
    paths = [f'"{volume["name"]}"' for volume in spec.get("volumes") or () if "hostPath" in volume]
    if paths:
        word = "volume" if len(paths) == 1 else "volumes"
        found.append(f"hostPath volumes ({word} {', '.join(paths)})")
    ports = [
        (c, port["hostPort"]) for c in containers for port in c.get("ports") or () if port.get("hostPort")
    ]
    if ports:
        numbers = ", ".join(str(number) for _, number in ports)
        found.append(f"hostPort ({_named([c for c, _ in ports])} uses hostPort {numbers})")
    return found


def _restricted(spec: dict, containers: list[dict]) -> list[str]:
    pod, found = spec.get("securityContext") or {}, []
    kinds = [
        (volume["name"], kind)
        for volume in spec.get("volumes") or ()
        for kind in volume
        if kind != "name" and kind not in _VOLUMES
    ]
    if kinds:
        told = ", ".join(f'volume "{name}" uses restricted volume type "{kind}"' for name, kind in kinds)
        found.append(f"restricted volume types ({told})")
    bad = [c for c in containers if _context(c).get("allowPrivilegeEscalation") is not False]
    if bad:
        told = f"{_named(bad)} must set securityContext.allowPrivilegeEscalation=false"
        found.append(f"allowPrivilegeEscalation != false ({told})")
    bad = [c for c in containers if "ALL" not in ((_context(c).get("capabilities") or {}).get("drop") or ())]
    if bad:
        told = f'{_named(bad)} must set securityContext.capabilities.drop=["ALL"]'
        found.append(f"unrestricted capabilities ({told})")
    bad = [c for c in containers if _context(c).get("runAsNonRoot", pod.get("runAsNonRoot")) is not True]
    if bad:
        told = f"pod or {_named(bad)} must set securityContext.runAsNonRoot=true"
        found.append(f"runAsNonRoot != true ({told})")
    bad = [c for c in containers if _context(c).get("runAsUser", pod.get("runAsUser")) == 0]
    if bad:
        found.append(f"runAsUser=0 (pod or {_named(bad)} must not set runAsUser=0)")
    allowed = ("RuntimeDefault", "Localhost")
    bad = [
        c
        for c in containers
        if (_context(c).get("seccompProfile") or pod.get("seccompProfile") or {}).get("type") not in allowed
    ]
    if bad:
        told = (
            f'pod or {_named(bad)} must set securityContext.seccompProfile.type to "RuntimeDefault" '
            'or "Localhost"'
        )
        found.append(f"seccompProfile ({told})")
    return found
