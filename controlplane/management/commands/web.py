from django.core.management.base import BaseCommand

from controlplane import roles


class Command(BaseCommand):
    help = "Serve the dashboard, the REST API and the gateway: the role web, as a container runs it."
    # /ready tells what is wrong, without ending the process.
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
        parser.add_argument("--port", type=int, default=8000, help="port to listen on (default 8000)")

    def handle(self, *, host, port, **options):
        roles.become("web", roles.web(host, port))
