"""What a record's cost was for: a target, a collection, a namespace.

A record names them by a tag, or a rule of the project's does by resource, account or tag. What neither tells
is not guessed: it is shown as not attributed.
"""

import json

from deployments.models import Target

# Tags that name a target, a collection and a namespace. Google's labels take neither colons nor capitals.
TAGS = {
    "target": ("aindusdb:target", "aindusdb-target", "aindusdb_target", "aindusdb.io/target"),
    "collection": ("aindusdb:collection", "aindusdb-collection", "aindusdb_collection"),
    "namespace": ("aindusdb:namespace", "aindusdb-namespace", "aindusdb_namespace"),
}


def expressions(project) -> tuple[dict[str, str], dict]:
    """({target, collection, namespace: SQL over a record `r`}, parameters); the SQL never gives NULL."""
    names: dict[str, str] = {}
    for target in Target.objects.filter(project=project).order_by("pk"):
        names[target.pk] = target.pk
        if target.status != "destroyed" or target.name not in names:
            names[target.name] = target.pk
    tags = {
        place: "coalesce(" + ", ".join(f"r.\"Tags\" ->> '{key}'" for key in keys) + ", '')"
        for place, keys in TAGS.items()
    }
    tags["target"] = f"coalesce(%(targets)s::jsonb ->> {tags['target']}, '')"
    return tags, {"targets": json.dumps(names)}
