"""Reads of a project's own things; what belongs to another project is not there."""

from django.db.models import QuerySet

from controlplane import ids
from controlplane.errors import NotFoundError
from controlplane.models import ApiKey, Membership, Project


def by_id_or_name(queryset: QuerySet, prefix: str, reference: str, *, name_field: str = "name", what: str):
    """The row of a prefixed id, else of a name; NotFoundError."""
    try:
        ids.decode(prefix, reference)
    except ValueError:
        found = None if "\0" in reference else queryset.filter(**{name_field: reference}).first()
    else:
        found = queryset.filter(pk=reference).first()
    if found is None:
        raise NotFoundError(f"There is no {what} {reference[:100]!r} here.")
    return found


def by_id(queryset: QuerySet, prefix: str, reference: str, *, what: str):
    """The row of a prefixed id; NotFoundError."""
    try:
        ids.decode(prefix, reference)
    except ValueError:
        found = None
    else:
        found = queryset.filter(pk=reference).first()
    if found is None:
        raise NotFoundError(f"There is no {what} {reference[:100]!r} here.")
    return found


def api_keys(project: Project) -> QuerySet[ApiKey]:
    """Every key of a project, revoked ones too."""
    return ApiKey.objects.filter(project=project)


def api_key_find(project: Project, reference: str) -> ApiKey:
    """A key by id, or by the name of one that is not revoked."""
    keys = api_keys(project).select_related("project")
    if reference.startswith("key_"):
        return by_id(keys, "key", reference, what="API key")
    return by_id_or_name(keys.filter(revoked_at=None), "key", reference, what="API key")


def members(project: Project) -> QuerySet[Membership]:
    """The members of a project with their users."""
    return Membership.objects.filter(project=project).select_related("user", "project")


def member_find(project: Project, reference: str) -> Membership:
    """A member by id or by the user's name."""
    return by_id_or_name(members(project), "mem", reference, name_field="user__username", what="member")


def projects_of(actor) -> QuerySet[Project]:
    """The projects an actor may see: a key's own; all those a user is a member of."""
    if actor.id.startswith("usr_"):
        return Project.objects.filter(pk__in=Membership.objects.filter(user=actor.id).values("project"))
    return Project.objects.filter(pk=actor.project.pk)
