from django.core.management.base import BaseCommand

from controlplane import roles


class Command(BaseCommand):
    help = (
        "Carry out operations: the role worker, as a container runs it. SIGTERM lets the running steps end."
    )
    requires_system_checks = []

    def handle(self, **options):
        roles.become("worker", roles.worker())
