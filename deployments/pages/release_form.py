"""The part of a roll-out form that says what is rolled out: a release, or an image and configuration."""

from controlplane.errors import InvalidError
from deployments.models import Release
from deployments.specs import CONFIG_SCHEMA

RELEASES_SHOWN = 50
FIELDS = ("release", "image", "config.workers", "config.threads")


def environment(names: list[str], values: list[str]) -> dict[str, str]:
    """The rows of the editor as a mapping; rows without a name are dropped."""
    return {name.strip(): value for name, value in zip(names, values, strict=False) if name.strip()}


def release_context(request, current: Release | None) -> dict:
    """What the form shows: the releases to choose from, and what was typed or `current` has."""
    given = request.POST
    config = current.config if current else {}
    env = config.get("env", {})
    if request.method == "POST":
        env = environment(given.getlist("env_name"), given.getlist("env_value"))
    return {
        "releases": list(
            Release.objects.filter(project=request.project).order_by("-number")[:RELEASES_SHOWN]
        ),
        "chosen": given.get("release", ""),
        "image": given.get("image", current.image if current else ""),
        "env": sorted(env.items()),
        "workers": given.get("workers", config.get("workers", 1)),
        "threads": given.get("threads", config.get("threads", 2)),
        "limits": CONFIG_SCHEMA["properties"],
        "note": given.get("note", ""),
    }


def release_asked(given, context: dict) -> dict:
    """What was chosen, as a service takes it: `release`, or `image`, `config` and `note`; InvalidError."""
    wanted = given.get("release", "new")
    if wanted != "new":
        chosen = next((one for one in context["releases"] if one.pk == wanted), None)
        if chosen is None:
            raise InvalidError("There is no such release; choose one of the list.", field="release")
        return {"release": chosen}
    config = {"env": dict(context["env"])} if context["env"] else {}
    for key in ("workers", "threads"):
        text = given.get(key, "").strip()
        if text:
            config[key] = whole_number(text)
    return {
        "image": given.get("image", "").strip(),
        "config": config,
        "note": given.get("note", "").strip(),
    }


def whole_number(text: str) -> int | str:
    """The number that a text writes, else the text, which validation refuses by its name."""
    return int(text) if text.lstrip("-").isdigit() else text
