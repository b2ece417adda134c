"""Reads of fleets and their rollouts; another project's are not there."""

from django.db.models import Count, Prefetch, Q, QuerySet

from controlplane.models import Project
from controlplane.selectors import by_id, by_id_or_name
from deployments.fleets.models import Fleet, FleetMember, FleetMove, FleetRollout
from deployments.models import TargetStatus

MOVES = Prefetch(
    "moves",
    FleetMove.objects.select_related("target", "before", "after", "rollout", "rollback").order_by("position"),
)


def fleets(project: Project) -> QuerySet[Fleet]:
    """The fleets of a project, each with the count and the list of its targets that exist."""
    existing = FleetMember.objects.exclude(target__status=TargetStatus.DESTROYED)
    return (
        Fleet.objects.filter(project=project)
        .select_related("project")
        .annotate(size=Count("members", filter=~Q(members__target__status=TargetStatus.DESTROYED)))
        .prefetch_related(
            Prefetch("members", existing.select_related("target", "target__release").order_by("position"))
        )
    )


def fleet_find(project: Project, reference: str) -> Fleet:
    """A fleet by id or name; NotFoundError."""
    return by_id_or_name(fleets(project), "flt", reference, what="fleet")


def fleet_rollouts(project: Project) -> QuerySet[FleetRollout]:
    """The rollouts over a project's fleets, each with its report."""
    rows = FleetRollout.objects.filter(fleet__project=project)
    return rows.select_related("fleet", "fleet__project", "release").prefetch_related(MOVES)


def fleet_rollout_find(project: Project, reference: str) -> FleetRollout:
    """A rollout over a fleet by id; NotFoundError."""
    return by_id(fleet_rollouts(project), "frl", reference, what="fleet rollout")
