"""`manage.py render --target NAME`: the objects of a target in a cluster, as they would be applied."""

import yaml
from django.core.management.base import BaseCommand, CommandError

from controlplane.errors import ProblemError
from controlplane.models import Project
from deployments import selectors
from deployments.errors import ProviderError
from deployments.models import Target, TargetStatus
from deployments.workloads import rendered_objects


class _Dumper(yaml.SafeDumper):
    """Without anchors, and texts of several lines as blocks."""

    def ignore_aliases(self, data):
        return True


def _text(dumper, data):
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _text)


class Command(BaseCommand):
    help = "Prints the Kubernetes objects of a target as YAML, its secrets starred."

    def add_arguments(self, parser):
        parser.add_argument("--target", required=True, help="its name or id")
        parser.add_argument("--project", default="", help="name or id, when targets of two share the name")
        parser.add_argument("--with-secrets", action="store_true", help="print secrets as they are applied")

    def handle(self, *, target, project, with_secrets, **_):
        found = self._target(target, project)
        try:
            manifests = rendered_objects(found)
        except (ProblemError, ProviderError) as error:
            raise CommandError(f"{error} {getattr(error, 'remedy', '')}".strip()) from None
        for one in manifests:
            document = dict(one.document if with_secrets else one.redacted)
            self.stdout.write(
                "---\n" + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000), ending=""
            )

    def _target(self, reference: str, project: str) -> Target:
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
