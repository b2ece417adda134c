"""`manage.py render --target NAME`: the objects of a target in a cluster, as they would be applied."""

from django.core.management.base import BaseCommand, CommandError

from controlplane.errors import ProblemError
from deployments.errors import ProviderError
from deployments.management.targets import add_arguments, target_named
from deployments.manifest_yaml import as_yaml
from deployments.workloads import rendered_objects

MADE_LATER = ("jwt_secret", "database_password", "database_admin_password", "redis_password")


class Command(BaseCommand):
    help = "Prints the Kubernetes objects of a target as YAML, its secrets starred."

    def add_arguments(self, parser):
        add_arguments(parser)
        parser.add_argument("--with-secrets", action="store_true", help="print secrets as they are applied")

    def handle(self, *, target, project, with_secrets, **_):
        found = target_named(target, project)
        if not found.secrets:
            if with_secrets:
                raise CommandError(f"{found.name} has no secrets yet: they are made when it is provisioned.")
            # As they would stand there, so that what is printed is the same each time.
            found.secrets = dict.fromkeys(MADE_LATER, "***")
        try:
            manifests = rendered_objects(found)
        except (ProblemError, ProviderError) as error:
            raise CommandError(f"{error} {getattr(error, 'remedy', '')}".strip()) from None
        for one in manifests:
            self.stdout.write("---\n" + as_yaml(one.document if with_secrets else one.redacted), ending="")
