"""How the commands find the target they are told of."""

from django.core.management.base import CommandError

from controlplane.errors import ProblemError
from controlplane.models import Project
from deployments import selectors
from deployments.models import Target, TargetStatus


def add_arguments(parser) -> None:
    """`--target`, and `--project` for the case that it is not enough."""
    parser.add_argument("--target", required=True, help="its name or id")
    parser.add_argument("--project", default="", help="name or id, when targets of two share the name")


def target_named(reference: str, project: str) -> Target:
    """The one target of this name or id that is not destroyed; CommandError for none and for several."""
    rows = Project.objects.all()
    if project:
        rows = rows.filter(**{"pk" if project.startswith("prj_") else "name": project})
    found = []
    for one in rows:
        try:
            found.append(selectors.target_find(one, reference))
        except ProblemError:
            continue
    found = [one for one in found if one.status != TargetStatus.DESTROYED]
    if not found:
        raise CommandError(f"There is no target {reference}.")
    if len(found) > 1:
        raise CommandError(f"Several projects have a target {reference}; name one with --project.")
    return found[0]
