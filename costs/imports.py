"""Imports: files become loads of records, as an operation."""

from collections.abc import Callable

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from controlplane import audit
from controlplane.errors import ConflictError, InvalidError
from controlplane.selectors import by_id, by_id_or_name
from costs.files import file_receive
from costs.models import (
    CostImport,
    CostSource,
    ImportStatus,
    OnError,
    SourceKind,
    source_name_of,
    source_name_validator,
)
from worker.models import Operation
from worker.services import operation_submit


def cost_imports(project) -> QuerySet[CostImport]:
    """A project's imports with their sources."""
    return CostImport.objects.filter(source__project=project).select_related("source")


def cost_import_find(project, reference: str) -> CostImport:
    """An import by id; NotFoundError."""
    return by_id(cost_imports(project), "imp", reference, what="import")


def cost_sources(project) -> QuerySet[CostSource]:
    """A project's sources."""
    return CostSource.objects.filter(project=project)


def cost_source_find(project, reference: str) -> CostSource:
    """A source by id or name; NotFoundError."""
    return by_id_or_name(cost_sources(project), "csr", reference, what="cost source")


def upload_source(*, project, name: str, created_by: str) -> CostSource:
    """The source of uploads of this name, made if there is none; ConflictError if it is no such one."""
    try:
        source_name_validator(name)
    except ValidationError as error:
        raise InvalidError(" ".join(error.messages), field="source") from None
    source, made = CostSource.objects.get_or_create(
        project=project, name=name, defaults={"kind": SourceKind.UPLOAD, "created_by": created_by}
    )
    if not made and source.kind != SourceKind.UPLOAD:
        raise ConflictError(
            f"{name} is a source that is read by itself ({source.get_kind_display()}); name another one.",
            code="source_is_read",
            field="source",
        )
    return source


def cost_import_receive(
    *,
    project,
    files: list[tuple[str, Callable[[int], bytes]]],
    source: str = "",
    on_error: str = OnError.FAIL,
    created_by: str,
    most_bytes: int = 0,
) -> tuple[CostImport, Operation]:
    """Store files, each a name and a function that reads it, and start their import.

    Without `source` it is named after the first file, so that the same file sent again replaces itself.
    """
    if on_error not in OnError.values:
        raise InvalidError(f"on_error is one of {', '.join(OnError.values)}.", field="on_error")
    found = upload_source(project=project, name=source or source_name_of(files[0][0]), created_by=created_by)
    made = CostImport.objects.create(source=found, on_error=on_error, created_by=created_by)
    try:
        for name, read in files:
            file_receive(cost_import=made, name=name, read=read, most_bytes=most_bytes)
    except BaseException:
        made.delete()
        raise
    return made, cost_import_start(cost_import=made, requested_by=created_by)


def cost_import_start(
    *, cost_import: CostImport, requested_by: str, retry_of: Operation | None = None
) -> Operation:
    """Start an import whose files are here; of one source they follow one another."""
    source = cost_import.source
    with transaction.atomic():
        operation = operation_submit(
            project=source.project,
            kind="cost.import",
            subject=source.subject,
            input={"import": cost_import.pk, "source": source.name},
            created_by=requested_by,
            exclusive=False,
            retry_of=retry_of,
        )
        CostImport.objects.filter(pk=cost_import.pk).update(
            operation=operation.pk,
            status=ImportStatus.QUEUED,
            bytes=sum(file.bytes for file in cost_import.files.all()),
            error="",
            finished_at=None,
        )
        audit.record(
            project=source.project,
            actor=requested_by,
            action="cost.import.start",
            subject=cost_import.pk,
            detail={"source": source.name, "operation": operation.pk},
        )
    cost_import.refresh_from_db()
    return operation
