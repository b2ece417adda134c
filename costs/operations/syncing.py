"""cost.sync: what a source has that we have not is fetched, month by month; an import follows for each.

The open month and the last closed one are looked at each time, because bills change after their month; older
ones when the source says that they changed, or when they are not here yet.
"""

import time
from datetime import date
from functools import cached_property

from django.conf import settings
from django.utils import timezone

from controlplane.errors import InvalidError
from costs.files import file_receive
from costs.imports import cost_import_start
from costs.models import CostImport, CostLoad, CostSource, ImportStatus
from costs.reports import months_later
from costs.sources.base import Month
from costs.sources.registry import SOURCES
from worker.handlers import OperationHandler, operation
from worker.outcomes import Cancelled, Done, Outcome, Wait

STEP_SECONDS = 30.0


@operation("cost.sync", first="read", label="Reading of costs", deadline_seconds=6 * 3600)
class SyncCosts(OperationHandler):
    # A month's files are fetched in one step.
    lease_seconds = 900

    @classmethod
    def title(cls, operation) -> str:
        return f"Reading of costs from {operation.input.get('name', 'a source')}"

    @cached_property
    def source(self) -> CostSource:
        return CostSource.objects.select_related("project").get(pk=self.input["source"])

    def read(self) -> Outcome:
        # What a try that died was fetching is fetched anew.
        CostImport.objects.filter(source=self.source, status=ImportStatus.RECEIVING).delete()
        done: list[str] = self.state.setdefault("done", [])
        until = time.monotonic() + STEP_SECONDS
        due = [month for month in self._due() if f"{month.month:%Y-%m}" not in done]
        for number, month in enumerate(due):
            self._fetch(month)
            if time.monotonic() > until and number + 1 < len(due):
                return Wait(0, percent=min(99, int(100 * len(done) / (len(done) + len(due) - number - 1))))
        with self.atomic():
            changes = {"last_error": ""}
            if not done:
                # Nothing has changed there: what is here is current.
                changes["last_success_at"] = timezone.now()
            CostSource.objects.filter(pk=self.source.pk).update(**changes)
        told = f"Fetched {', '.join(done)}" if done else "Nothing has changed since the last reading"
        return Done({"months": done}, told)

    def cancel(self) -> Outcome:
        CostImport.objects.filter(source=self.source, status=ImportStatus.RECEIVING).delete()
        return Cancelled("What had been fetched before is imported.")

    def failed(self, failure):
        CostSource.objects.filter(pk=self.input["source"]).update(last_error=failure.error)

    def _due(self) -> list[Month]:
        today = timezone.now().date()
        open_month = today.replace(day=1)
        looked_at = {open_month, months_later(open_month, -1)}
        here = set(
            CostLoad.objects.filter(source=self.source, live=True).values_list("billing_period", flat=True)
        )

        known = self.source.fingerprints

        def wanted(month: date) -> bool:
            return month in looked_at or (month not in here and f"{month:%Y-%m}" not in known)

        reader = SOURCES[self.source.kind](self.source.config, dict(self.source.credentials))
        found = reader.months(months_later(open_month, 1 - settings.COST_HISTORY_MONTHS), wanted)
        return [
            one
            for one in found
            if one.files
            and (wanted(one.month) if one.version is None else known.get(f"{one.month:%Y-%m}") != one.version)
        ]

    def _fetch(self, month: Month) -> None:
        name = f"{month.month:%Y-%m}"
        made = CostImport.objects.create(
            source=self.source,
            created_by=self.operation.created_by,
            about={
                "month": name,
                "version": month.version,
                "totals": None if month.totals is None else dict(month.totals),
            },
        )
        for file in month.files:
            try:
                file_receive(cost_import=made, name=file.name, read=file.open())
            except InvalidError as error:
                if error.code != "empty_file":
                    raise
        with self.atomic():
            if made.files.exists():
                cost_import_start(cost_import=made, requested_by=self.operation.created_by)
            else:
                # A month without any charge: it is not asked for again once it is long closed.
                made.delete()
                self.source.fingerprints[name] = month.version
                self.source.save(update_fields=["fingerprints"])
            # With the import in one transaction: a try that dies here starts it once.
            self.state["done"].append(name)
            self.remember(done=self.state["done"])
