"""Reads of drift; another project's is not there."""

from django.db.models import Q, QuerySet

from controlplane.models import Project
from controlplane.selectors import by_id
from deployments.drift.models import DriftDecision, DriftFinding

OPEN, IGNORED, RESOLVED = "open", "ignored", "resolved"
STATES = {
    OPEN: Q(resolved_at=None, ignored=False),
    IGNORED: Q(resolved_at=None, ignored=True),
    RESOLVED: Q(resolved_at__isnull=False),
}


def findings(project: Project) -> QuerySet[DriftFinding]:
    """The findings of a project, with what was decided about them."""
    rows = DriftFinding.objects.filter(target__project=project).select_related("target")
    return rows.prefetch_related("decisions")


def in_states(rows: QuerySet[DriftFinding], states) -> QuerySet[DriftFinding]:
    """Those in one of the states."""
    wanted = Q(pk__in=[])
    for state in states:
        wanted |= STATES[state]
    return rows.filter(wanted)


def finding_find(project: Project, reference: str) -> DriftFinding:
    """A finding by id; NotFoundError."""
    return by_id(findings(project), "drf", reference, what="finding")


def decision_find(project: Project, reference: str) -> DriftDecision:
    """A decision by id; NotFoundError."""
    rows = DriftDecision.objects.filter(finding__target__project=project).select_related("finding__target")
    return by_id(rows, "drd", reference, what="decision")
