"""A form from a JSON schema: what a provider's spec takes, with its defaults and help."""

from dataclasses import dataclass, field

PREFIX = "spec."


@dataclass
class Field:
    """One input of the form, or a group of inputs when `fields` is not empty."""

    name: str
    label: str
    kind: str  # text | multiline | secret | number | checkbox | select | list | group
    help: str = ""
    value: object = ""
    choices: list = field(default_factory=list)
    minimum: object = None
    maximum: object = None
    step: str = ""
    pattern: str = ""
    required: bool = False
    error: str = ""
    fields: list["Field"] = field(default_factory=list)

    @property
    def id(self) -> str:
        return "field-" + self.name.replace(".", "-")


def form_fields(schema: dict, values: dict, errors: dict | None = None, prefix: str = PREFIX) -> list[Field]:
    """The fields of an object's schema with their present values, in the schema's order."""
    errors = errors or {}
    required = set(schema.get("required", ()))
    found = []
    for key, part in schema.get("properties", {}).items():
        name = prefix + key
        value = values.get(key, part.get("default"))
        made = Field(
            name=name,
            label=part.get("title") or key.replace("_", " ").capitalize(),
            kind=_kind(part),
            help=_help(part),
            required=key in required,
            error=errors.get(name, errors.get(key, "")),
        )
        if made.kind == "group":
            made.fields = form_fields(part, value if isinstance(value, dict) else {}, errors, f"{name}.")
        elif part.get("writeOnly"):
            # Never sent back to a browser; left empty, what is known is kept.
            made.value = ""
        elif made.kind == "list":
            made.value = ", ".join(str(one) for one in value or [])
        else:
            made.value = "" if value is None else value
        if made.kind == "select":
            made.choices = [(str(one), str(one)) for one in part["enum"]]
            made.value = str(made.value)
        if made.kind == "number":
            made.minimum, made.maximum = part.get("minimum"), part.get("maximum")
            made.step = "1" if _type(part) == "integer" else "any"
        found.append(made)
    return found


def secret_names(schema: dict, prefix: str = PREFIX) -> list[str]:
    """The inputs that must stand in no address: those of write-only parts."""
    found = []
    for key, part in schema.get("properties", {}).items():
        if part.get("writeOnly"):
            found.append(prefix + key)
        elif part.get("properties"):
            found += secret_names(part, f"{prefix}{key}.")
    return found


def _type(part: dict) -> str:
    kind = part.get("type", "string")
    return next((one for one in kind if one != "null"), "string") if isinstance(kind, list) else kind


def _kind(part: dict) -> str:
    if "enum" in part:
        return "select"
    if part.get("format") == "multiline":
        return "multiline"
    if part.get("writeOnly"):
        return "secret"
    kinds = {
        "boolean": "checkbox",
        "integer": "number",
        "number": "number",
        "array": "list",
        "object": "group" if part.get("properties") else "text",
    }
    return kinds.get(_type(part), "text")


def _help(part: dict) -> str:
    text = part.get("description", "").rstrip(".")
    limits = ""
    if "minimum" in part and "maximum" in part:
        limits = f"{part['minimum']:,} to {part['maximum']:,}"
    elif "minimum" in part:
        limits = f"At least {part['minimum']:,}"
    return ". ".join(one for one in (text, limits) if one) + ("." if text or limits else "")


def spec_from_form(schema: dict, data, prefix: str = PREFIX) -> dict:
    """The spec a sent form means; a value that is no number stays text, for the schema to refuse by name."""
    spec = {}
    for key, part in schema.get("properties", {}).items():
        name, kind = prefix + key, _kind(part)
        if kind == "group":
            inner = spec_from_form(part, data, f"{name}.")
            if inner:
                spec[key] = inner
        elif kind == "checkbox":
            if f"{name}:sent" in data or name in data:
                spec[key] = data.get(name) == "on"
        elif name in data:
            text = data[name].strip()
            if kind == "list":
                spec[key] = [one.strip() for one in text.split(",") if one.strip()]
            elif text or (key in schema.get("required", ()) and "default" not in part):
                spec[key] = _parsed(text, part)
    return spec


def _parsed(text: str, part: dict):
    kind = _type(part)
    if kind in ("integer", "number"):
        try:
            return int(text) if kind == "integer" else float(text)
        except ValueError:
            return text
    if "enum" in part:
        return next((one for one in part["enum"] if str(one) == text), text)
    return text
