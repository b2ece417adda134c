"""cost.import: the files of an import become loads, which replace those of the same source and months.

Rows are copied into tables that nobody sees, a batch and the place of its end in one transaction: a worker
that is killed costs one batch. What counts changes once, when everything is there.
"""

import time
from functools import cached_property

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from controlplane.errors import ConflictError
from costs import records, rollups
from costs.focus.problems import Problems, UnreadableFileError
from costs.models import CostFile, CostFilePart, CostImport, CostLoad, CostSource, ImportStatus, OnError
from costs.records import DIMENSIONS
from worker.handlers import OperationHandler, operation
from worker.outcomes import Cancelled, Done, Fail, Next, Outcome, Wait

# Of one try of `load`: its lease is longer than any batch takes.
STEP_SECONDS = 8.0


@operation("cost.import", first="load", label="Import of costs", deadline_seconds=6 * 3600)
class ImportCosts(OperationHandler):
    # Rolling up a load of ten million records is one statement.
    lease_seconds = 900

    @classmethod
    def title(cls, operation) -> str:
        return f"Import of costs from {operation.input.get('source', 'a source')}"

    @classmethod
    def resubmit(cls, operation, requested_by: str):
        from costs.imports import cost_import_start

        found = CostImport.objects.filter(pk=operation.input["import"]).first()
        if found is None or not found.files.exists():
            raise ConflictError("The files of this import are gone; send them again.", code="files_gone")
        return cost_import_start(cost_import=found, requested_by=requested_by, retry_of=operation)

    @cached_property
    def cost_import(self) -> CostImport:
        return CostImport.objects.select_related("source__project").get(pk=self.input["import"])

    def load(self) -> Outcome:
        if "file" not in self.state:
            self._begin()
        files = list(self.cost_import.files.order_by("pk"))
        try:
            finished = self._load_some(files, time.monotonic() + STEP_SECONDS)
        except UnreadableFileError as error:
            return Fail(
                f"{files[error.number].name}: {error}",
                code="unreadable_file",
                remedy="Mend the file, or export it again, and send it anew. Nothing was imported.",
            )
        if not finished:
            return Wait(0, percent=self.operation.percent)
        problems = self.state["problems"]
        if problems["rows"] and self.cost_import.on_error == OnError.FAIL:
            first = problems["first"][0]
            where = f"line {first['line']}" + (f", column {first['column']}" if first["column"] else "")
            return Fail(
                f"{problems['rows']:,} rows are broken, so nothing was imported. The first is in"
                f" {first['file']}, {where}: {first['reason']}.",
                code="broken_rows",
                remedy="Mend the rows that the import lists, or import with on_error=skip to leave them out.",
            )
        return Next(self.roll_up, f"{self.cost_import.rows:,} rows read")

    def roll_up(self) -> Outcome:
        rollups.roll_up_all(self._loads())
        return Next(self.publish, "Sums made")

    def publish(self) -> Outcome:
        loads = self._loads()
        totals = rollups.totals_of([load.pk for load in loads])
        periods, old_loads = [], []
        expected = self.cost_import.about.get("month")
        strange = sorted({f"{load.billing_period:%Y-%m}" for load in loads} - {expected}) if expected else []
        if strange:
            return Fail(
                f"What the source gave of {expected} holds charges billed in {', '.join(strange)}.",
                code="other_months",
                remedy="Check prefix and layout of the export: each month is in a folder of its own.",
            )
        with self.atomic():
            for load in loads:
                old = CostLoad.objects.filter(
                    source=load.source, billing_period=load.billing_period, live=True
                ).first()
                if old:
                    records.load_table_detach(old)
                    CostLoad.objects.filter(pk=old.pk).update(live=False)
                    old_loads.append(old.pk)
                records.load_table_attach(load)
                CostLoad.objects.filter(pk=load.pk).update(live=True, published_at=timezone.now())
                periods.append(
                    {
                        "month": f"{load.billing_period:%Y-%m}",
                        "rows": load.rows,
                        "replaced_rows": old.rows if old else 0,
                    }
                )
            self._update(periods=periods, totals=totals)
            if expected:
                self._note_read(expected)
            # With the change in one transaction: what was published is not published again.
            self.remember(old_loads=old_loads, loads={}, published=True)
        return Next(self.tidy, f"{len(periods)} billing months replaced")

    def tidy(self) -> Outcome:
        for load_id in self.state.get("old_loads", []):
            records.load_drop(load_id)
            CostLoad.objects.filter(pk=load_id, live=False).delete()
        with self.atomic():
            self._drop_files()
            self._update(status=ImportStatus.SUCCEEDED, finished_at=timezone.now())
        told = self.cost_import
        result = {
            "rows": told.rows,
            "rejected": told.rejected,
            "periods": told.periods,
            "totals": told.totals,
        }
        return Done({"import": told.pk, **result}, f"{told.rows:,} rows imported")

    def cancel(self) -> Outcome:
        if self.state.get("published"):
            return self.tidy()
        self._drop_loads()
        with self.atomic():
            self._drop_files()
            self._update(status=ImportStatus.CANCELLED, finished_at=timezone.now())
        return Cancelled("Nothing was imported.")

    def failed(self, failure):
        self._drop_loads()
        self._update(status=ImportStatus.FAILED, finished_at=timezone.now(), error=failure.error)
        if self.cost_import.about:
            CostSource.objects.filter(pk=self.cost_import.source_id).update(last_error=failure.error)

    def _note_read(self, month: str) -> None:
        """Remember on the source what of it is live now, and what the provider says it adds up to."""
        about = self.cost_import.about
        source = CostSource.objects.select_for_update(no_key=True).get(pk=self.cost_import.source_id)
        source.fingerprints[month] = about.get("version")
        if about.get("totals") is not None:
            source.provider_totals[month] = about["totals"]
        source.last_success_at, source.last_error = timezone.now(), ""
        source.save(update_fields=["fingerprints", "provider_totals", "last_success_at", "last_error"])

    def _begin(self) -> None:
        """What an earlier operation of this import left is taken away."""
        with self.atomic():
            for load in CostLoad.objects.filter(cost_import=self.cost_import, live=False):
                records.load_drop(load.pk)
                load.delete()
            self._update(status=ImportStatus.RUNNING, rows=0, rejected=0, problems=[], periods=[], totals=[])
            self.remember(file=0, place={}, loads={}, problems={"rows": 0, "first": []})

    def _load_some(self, files: list[CostFile], until: float) -> bool:
        """Read on until the time is up; whether all files have been read."""
        from costs.files import commit_lazily
        from costs.focus.ahead import judged_ahead

        with judged_ahead(files, self.state["file"], self.state["place"], DIMENSIONS) as found:
            for number, batch, judged, sums in found:
                problems = Problems(**self.state["problems"])
                told = sorted(batch.problems + judged.problems, key=lambda one: one.line)
                problems.add(files[number].name, told)
                self.state["problems"] = {"rows": problems.rows, "first": problems.first}
                self.state |= {"file": number, "place": batch.place}
                self.operation.percent = min(99, int(100 * (number + batch.share) / len(files)))
                with transaction.atomic():
                    commit_lazily()
                    self._store(judged.table, sums)
                    self.remember(**self.state)
                if time.monotonic() > until:
                    return False
        return True

    def _store(self, table, sums) -> None:
        from costs import loading

        problems = self.state["problems"]
        rows = self.cost_import.rows + table.num_rows
        wanted = not (problems["rows"] and self.cost_import.on_error == OnError.FAIL)
        if wanted and table.num_rows:
            loads = self.state["loads"]
            for period in loading.periods_of(table):
                if period not in loads:
                    load = CostLoad.objects.create(
                        source=self.cost_import.source, cost_import=self.cost_import, billing_period=period
                    )
                    load.refresh_from_db()
                    records.load_table_create(load)
                    loads[period] = load.pk
            loading.copy_rows(table, loads)
            loading.copy_sums(sums, loads)
            for period, count in loading.counts_of(table).items():
                CostLoad.objects.filter(pk=loads[period]).update(rows=F("rows") + count)
        self._update(rows=rows, rejected=problems["rows"], problems=problems["first"])

    def _loads(self) -> list[CostLoad]:
        rows = CostLoad.objects.select_related("source__project").filter(pk__in=self.state["loads"].values())
        return list(rows.order_by("billing_period"))

    def _update(self, **values) -> None:
        for name, value in values.items():
            setattr(self.cost_import, name, value)
        CostImport.objects.filter(pk=self.cost_import.pk).update(**values)

    def _drop_loads(self) -> None:
        for load_id in self.state.get("loads", {}).values():
            records.load_drop(load_id)
            CostLoad.objects.filter(pk=load_id, live=False).delete()

    def _drop_files(self) -> None:
        CostFilePart.objects.filter(file__cost_import=self.cost_import).delete()
        self.cost_import.files.all().delete()
