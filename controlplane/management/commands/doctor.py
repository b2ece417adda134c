import json

from django.core.management.base import BaseCommand
from django.utils.module_loading import autodiscover_modules

from controlplane import doctor


class Command(BaseCommand):
    help = (
        "Check the whole installation and say what to do about each fault. Exit status 1 if one is failing."
    )
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("--json", action="store_true", help="a list of {check, level, what, remedy}")

    def handle(self, *, json: bool, **options):
        autodiscover_modules("diagnosis")
        findings = doctor.examine()
        if json:
            self.stdout.write(as_json(findings))
        else:
            self._table(findings)
        if any(finding.level == doctor.Level.FAILING for finding in findings):
            raise SystemExit(1)

    def _table(self, findings: list[doctor.Finding]) -> None:
        styles = {
            doctor.Level.OK: self.style.SUCCESS,
            doctor.Level.WARNING: self.style.WARNING,
            doctor.Level.FAILING: self.style.ERROR,
            doctor.Level.SKIPPED: self.style.NOTICE,
        }
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            level = styles[finding.level](f"{finding.level:<7}")
            self.stdout.write(f"{level}  {finding.check:<{width}}  {finding.what}")
            if finding.remedy:
                self.stdout.write(f"{'':7}  {'':<{width}}  -> {finding.remedy}")


def as_json(findings: list[doctor.Finding]) -> str:
    return json.dumps([finding.as_dict() for finding in findings], indent=2)
