"""Reads of backups and restores; another project's are not there."""

from django.db.models import QuerySet

from controlplane.models import Project
from controlplane.selectors import by_id
from deployments.backups.models import Backup, Restore


def backups(project: Project) -> QuerySet[Backup]:
    """The backups of a project."""
    return Backup.objects.filter(target__project=project).select_related("target", "release")


def backup_find(project: Project, reference: str) -> Backup:
    """A backup by id; NotFoundError."""
    return by_id(backups(project), "bak", reference, what="backup")


def restores(project: Project) -> QuerySet[Restore]:
    """The restores of a project."""
    return Restore.objects.filter(target__project=project).select_related("target", "backup")


def restore_find(project: Project, reference: str) -> Restore:
    """A restore by id; NotFoundError."""
    return by_id(restores(project), "rst", reference, what="restore")
