"""What an empty installation needs once: an administrator, a project, and what the apps add."""

import secrets

from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string

from controlplane import audit
from controlplane.models import AuditEntry, Membership, Project, Role, User

ADMIN = "admin"
DEFAULT_PROJECT = "default"
HOOK_DONE = "installation.first_start"


def first_start() -> str | None:
    """Make the administrator and the first project; the generated password when it was made now.

    May be called on every start: it makes only what was never made, also after an interruption.
    """
    password = None
    with transaction.atomic():
        # Another control plane on the same database may start at this moment.
        audit.lock_chain()
        project = Project.objects.order_by("created_at").first()
        if project is None:
            project = Project.objects.create(name=DEFAULT_PROJECT)
            audit.record(project=project, actor="system", action="project.create", subject=project.pk)
        if not User.objects.exists():
            password = secrets.token_urlsafe(15)
            user = User.objects.create_superuser(ADMIN, password=password)
            Membership.objects.create(user=user, project=project, role=Role.ADMIN)
            audit.record(project=project, actor="system", action="user.create", subject=user.pk)
    return password


def run_hooks(say) -> None:
    """Call each of settings.FIRST_START_HOOKS with the first project, until it has worked once.

    That it has is an entry of the audit log, written in the hook's own transaction. A hook that fails is
    told of by `say` and tried again on the next start.
    """
    done = set(AuditEntry.objects.filter(action=HOOK_DONE).values_list("subject", flat=True))
    for name in settings.FIRST_START_HOOKS:
        if name in done:
            continue
        try:
            hook = import_string(name)
            with transaction.atomic():
                project = Project.objects.order_by("created_at").first()
                hook(project=project)
                audit.record(project=project, actor="system", action=HOOK_DONE, subject=name)
        except Exception as error:
            say(f"First start: {name} failed and is tried again on the next start: {error!r}")
