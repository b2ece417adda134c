from django.conf import settings
from django.core.management.base import BaseCommand

from controlplane import roles


class Command(BaseCommand):
    help = "Send what is due by the clock: the role beat, as a container runs it. One at a time is enough."
    requires_system_checks = []

    def handle(self, **options):
        settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
        roles.become("beat", roles.beat(settings.DATA_DIR))
