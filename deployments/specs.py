"""Validation of what callers ask for: provider names, regions, specs and release configurations."""

from jsonschema import Draft202012Validator

from controlplane.errors import InvalidError
from deployments.providers.base import Provider, offered_names, provider_for

# What a release may set. `env` is for the replica's process; names that carry secrets or identity are ours.
CONFIG_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "env": {
            "type": "object",
            "title": "Environment",
            "description": "Variables of the replica's process.",
            "propertyNames": {"pattern": "^[A-Z][A-Z0-9_]{0,99}$"},
            "additionalProperties": {"type": "string", "maxLength": 4096},
        },
        "workers": {
            "type": "integer",
            "minimum": 1,
            "maximum": 32,
            "default": 1,
            "title": "Workers",
            "description": "Processes of one replica.",
        },
        "threads": {
            "type": "integer",
            "minimum": 1,
            "maximum": 64,
            "default": 2,
            "title": "Threads",
            "description": "Request threads of each process.",
        },
    },
}
RESERVED_ENV = frozenset(
    {
        "DATABASE_URL",
        "REDIS_URL",
        "JWT_SECRET_KEY",
        "JWT_SECRET_KEY_PREVIOUS",
        "CLUSTER_REGION",
        "CLOUD_PROVIDER",
        "AINDUS_ROLE",
        "AINDUS_REPLICA_DIR",
        "AINDUS_DATA_DIR",
        # They open files, networks and buckets of the machine to whoever may import: its operator decides.
        "AINDUS_TRANSFER_PATHS",
        "AINDUS_TRANSFER_URLS",
        "AINDUS_TRANSFER_NETWORKS",
        "PATH",
        "PYTHONPATH",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
    }
)


def problems_by_schema(schema: dict, value, prefix: str) -> list[dict]:
    """[{field, code, message}] of every way `value` does not fit; unknown fields are told one by one."""
    found = []
    for error in Draft202012Validator(schema).iter_errors(value):
        path = ".".join(str(part) for part in error.absolute_path)
        field = f"{prefix}.{path}".strip(".") if path else prefix
        if error.validator == "additionalProperties" and isinstance(error.instance, dict):
            known = error.schema.get("properties", {})
            for name in sorted(set(error.instance) - set(known)):
                found.append(
                    {
                        "field": f"{field}.{name}".strip("."),
                        "code": "unknown_field",
                        "message": f"Unknown field; known are: {', '.join(sorted(known))}.",
                    }
                )
        else:
            found.append({"field": field or "spec", "code": error.validator, "message": error.message})
    return found


def with_defaults(schema: dict, value: dict) -> dict:
    """`value` with the schema's defaults filled in, one level deep per nested object."""
    filled = dict(value)
    for name, part in schema.get("properties", {}).items():
        if name not in filled and "default" in part:
            filled[name] = part["default"]
        elif isinstance(filled.get(name), dict) and "properties" in part:
            filled[name] = with_defaults(part, filled[name])
    return filled


def _validated(schema: dict, value, prefix: str) -> dict:
    errors = problems_by_schema(schema, value, prefix)
    if errors:
        raise InvalidError(f"{errors[0]['field']}: {errors[0]['message']}", errors=errors)
    return with_defaults(schema, value)


def withheld(schema: dict, spec: dict) -> tuple[dict, dict[str, str]]:
    """(the spec without its write-only parts, {"database_url": value} of those that are not empty)."""
    kept, secrets = {}, {}
    for name, value in spec.items():
        part = schema.get("properties", {}).get(name, {})
        if part.get("writeOnly"):
            if value:
                secrets[name] = value
        elif isinstance(value, dict) and "properties" in part:
            kept[name], inner = withheld(part, value)
            secrets |= {f"{name}_{inside}": one for inside, one in inner.items()}
        else:
            kept[name] = value
    return kept, secrets


def provider_named(name: str) -> Provider:
    """The provider; InvalidError that lists the known ones."""
    if name not in offered_names():
        raise InvalidError(
            f"There is no provider {name!r}; choose {', '.join(offered_names())}.", field="provider"
        )
    return provider_for(name)


def validated_spec(provider: Provider, spec: dict, *, prefix: str = "spec") -> dict:
    """The spec with defaults; InvalidError names each unknown or wrong field."""
    return _validated(provider.spec_schema, spec, prefix)


def validated_region(provider: Provider, region: str) -> str:
    """A region the provider has; its only one when none is given."""
    if not region and len(provider.regions) == 1:
        return provider.regions[0]
    if region not in provider.regions:
        raise InvalidError(
            f"{provider.label} has no region {region!r}; choose {', '.join(provider.regions)}.",
            field="region",
        )
    return region


def validated_config(config: dict) -> dict:
    """A release's configuration with defaults; reserved environment names are refused."""
    config = _validated(CONFIG_SCHEMA, config, "config")
    for name in config.get("env", {}):
        if name.removesuffix("_FILE") in RESERVED_ENV:
            raise InvalidError(
                f"{name} is set by the control plane; choose another name.", field=f"config.env.{name}"
            )
    return config
