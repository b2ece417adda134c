"""`manage.py vectors_runner`: does the vector API's jobs (index builds). `manage.py api` starts one."""

import os

from django.core.management.base import BaseCommand

from vectors import replica, runner


class Command(BaseCommand):
    help = "Does the vector API's jobs, such as index builds."
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("--parent", type=int, default=0, help="process to die with")

    def handle(self, *, parent, **_):
        if parent:
            replica.die_with(parent)
        runner.main(lambda: not parent or os.getppid() == parent)
