"""Use cases of targets, releases and rollouts. Each writes its rows and submits at most one operation."""

import hashlib
import json
import re
from collections.abc import Container
from contextlib import contextmanager

from django.conf import settings
from django.db import transaction
from django.db.models import JSONField, Max

from controlplane import audit
from controlplane.errors import ConflictError, InvalidError, PreconditionFailedError, UnavailableError
from controlplane.validation import clean
from deployments import specs
from deployments.accounts import account_for
from deployments.errors import ProviderError, Transient
from deployments.estimation import plan_estimate
from deployments.models import (
    RUNNING_TARGET,
    Plan,
    Release,
    Rollout,
    RolloutStatus,
    Target,
    TargetStatus,
)
from deployments.providers.base import as_json, provider_for
from deployments.runtimes.base import runtime_for
from deployments.strategies import CANARY, validated_strategy
from deployments.target_specs import target_spec
from deployments.workloads import planned_workload
from worker.models import Operation
from worker.services import OperationInProgressError, operation_submit

# What the control plane does by itself does not stand in the way of what people ask for.
BY_ITSELF = ("target.heal",)
IMAGE = re.compile(
    r"\A(?:[a-z0-9.-]+(?::\d+)?/)?[a-z0-9._/-]+(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?\Z"
)


def canonical_digest(value) -> str:
    """SHA-256 of a JSON value, the same for the same content."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _clean(instance, *, prefix: str = "") -> None:
    """`clean`, but JSON fields are left to their schemas: Django would call an empty object blank."""
    by_schema = {field.name for field in instance._meta.fields if isinstance(field, JSONField)}
    clean(instance, exclude=by_schema, prefix=prefix, validate_unique=True)


@contextmanager
def provider_errors():
    """What a provider raises while a caller waits, as the caller's error."""
    try:
        yield
    except Transient as error:
        raise UnavailableError(
            f"{error} {error.remedy}".strip(), code=error.code, retry_after_seconds=5
        ) from error
    except ProviderError as error:
        raise ConflictError(f"{error} {error.remedy}".strip(), code=error.code) from error


def _lock(target: Target) -> Target:
    return Target.objects.select_for_update(no_key=True).get(pk=target.pk)


def _need_running(target: Target, doing: str) -> None:
    if target.status not in RUNNING_TARGET:
        raise ConflictError(
            f"{target.name} is {target.status}; {doing} needs a target that is ready.",
            code="target_not_ready",
        )


def release_create(*, project, image: str = "", config: dict | None = None, note: str = "", created_by: str):
    """An immutable release; the same image and config give the release that exists already."""
    image = image or settings.API_IMAGE
    found = IMAGE.match(image)
    if not found or not (found["tag"] or found["digest"]):
        raise InvalidError(
            f"{image!r} is not pinned: give a tag or digest, such as {settings.API_IMAGE}.", field="image"
        )
    if found["tag"] == "latest" and not found["digest"]:
        raise InvalidError("The tag `latest` moves; pin a version or digest.", field="image")
    config = specs.validated_config(config or {})
    digest = canonical_digest({"image": image, "config": config})
    with transaction.atomic():
        type(project).objects.select_for_update(no_key=True).get(pk=project.pk)
        known = Release.objects.filter(project=project, digest=digest).first()
        if known:
            return known
        newest = Release.objects.filter(project=project).aggregate(Max("number"))["number__max"] or 0
        release = Release(
            project=project,
            number=newest + 1,
            image=image,
            config=config,
            digest=digest,
            note=note,
            created_by=created_by,
        )
        _clean(release)
        release.save(force_insert=True)
        audit.record(
            project=project,
            actor=created_by,
            action="release.create",
            subject=release.pk,
            detail={"image": image, "number": release.number},
        )
        return release


def target_create(
    *,
    project,
    name: str,
    provider: str,
    account: str = "",
    region: str = "",
    role: str = "primary",
    spec: dict | None = None,
    plan_only: bool = False,
    created_by: str,
) -> tuple[Target, Plan, Operation | None]:
    """Record a target and its plan and, unless `plan_only`, start to provision it."""
    engine = specs.provider_named(provider)
    given = spec or {}
    spec, _ = specs.withheld(dict(engine.spec_schema), specs.validated_spec(engine, given))
    target = Target(
        project=project,
        name=name,
        provider=provider,
        account=account_for(project, engine, account),
        region=specs.validated_region(engine, region),
        role=role,
        spec=spec,
        desired_replicas=spec.get("replicas", 2),
        created_by=created_by,
    )
    _clean(target)
    with transaction.atomic():
        type(project).objects.select_for_update(no_key=True).get(pk=project.pk)
        clash = Target.objects.filter(project=project, name=name).exclude(status=TargetStatus.DESTROYED)
        if clash.exists():
            raise ConflictError(
                f"A target named {name} exists already; choose another name.", code="name_taken", field="name"
            )
        target.save(force_insert=True)
        plan = target_plan(target=target, spec=given, created_by=created_by)
        audit.record(
            project=project,
            actor=created_by,
            action="target.create",
            subject=target.pk,
            detail={"name": name, "provider": provider, "region": target.region},
        )
        operation = None if plan_only else plan_apply(plan=plan, requested_by=created_by)
    return target, plan, operation


def target_plan(*, target: Target, spec: dict | None = None, created_by: str) -> Plan:
    """What applying `spec` (the target's own when None) would change, with the problems found."""
    engine = provider_for(target.provider)
    secrets: dict = {}
    if spec is None:
        spec = target.spec
    else:
        spec, secrets = specs.withheld(dict(engine.spec_schema), specs.validated_spec(engine, spec))
    wanted = target_spec(target, spec, secrets)
    current = target_spec(target) if target.status != TargetStatus.PENDING else None
    with provider_errors():
        result = engine.plan(wanted, current)
        problems = engine.validate(wanted)
        result, more = planned_workload(target, result, spec=spec, secrets=secrets)
        problems += more
    estimate = plan_estimate(
        project=target.project, provider=engine, wanted=wanted, current=current, result=result
    )
    return Plan.objects.create(
        target=target,
        spec=spec,
        secrets=secrets,
        digest=plan_digest(target, spec),
        changes=[as_json(change) for change in result.changes],
        problems=[as_json(problem) for problem in problems],
        estimate=estimate,
        created_by=created_by,
    )


def plan_digest(target: Target, spec: dict) -> str:
    """Changes whenever the target or what is asked of it does, so that an old plan is refused."""
    return canonical_digest(
        {"spec": spec, "now": target.spec, "status": target.status, "engine_ref": target.engine_ref}
    )


def plan_apply(*, plan: Plan, requested_by: str) -> Operation:
    """Carry a plan out; refused when the target changed since, or the plan has errors."""
    with transaction.atomic():
        target = _lock(plan.target)
        errors = [problem for problem in plan.problems if problem["severity"] == "error"]
        if errors:
            raise InvalidError(
                errors[0]["message"],
                errors=[
                    {
                        "field": p["field"],
                        "code": p["code"],
                        "message": f"{p['message']} {p['remedy']}".strip(),
                    }
                    for p in errors
                ],
            )
        if target.status in (TargetStatus.DESTROYING, TargetStatus.DESTROYED):
            raise ConflictError(f"{target.name} is {target.status}.", code="target_destroyed")
        if plan.operation or plan.digest != plan_digest(target, plan.spec):
            raise ConflictError(
                "The target changed since this plan was made; make a new plan and look at it again.",
                code="plan_outdated",
            )
        operation = operation_submit(
            project=target.project,
            kind="target.provision",
            subject=target.subject,
            input={
                "target": target.pk,
                "plan": plan.pk,
                "spec": plan.spec,
                "before": target.spec if target.status in RUNNING_TARGET else None,
            },
            created_by=requested_by,
            may_follow=BY_ITSELF,
        )
        plan.operation = operation.pk
        plan.save(update_fields=["operation"])
        target.spec = plan.spec
        target.secrets = dict(target.secrets) | dict(plan.secrets)
        target.desired_replicas = plan.spec.get("replicas", target.desired_replicas)
        if target.status not in RUNNING_TARGET:
            target.status, target.status_reason = TargetStatus.PROVISIONING, ""
        target.save()
        audit.record(
            project=target.project,
            actor=requested_by,
            action="plan.apply",
            subject=target.pk,
            detail={"plan": plan.pk, "operation": operation.pk},
        )
        return operation


def target_update(
    *, target: Target, requested_by: str, expected_versions: Container[str] | None = None, **changes
) -> Target:
    """Change a target's own fields: name, role, deletion_protection.

    PreconditionFailedError when `expected_versions` is given and the target's version is none of them.
    """
    unknown = set(changes) - {"name", "role", "deletion_protection"}
    if unknown:
        field = sorted(unknown)[0]
        raise InvalidError(f"{field} cannot be changed here; make a plan with a new spec.", field=field)
    with transaction.atomic():
        held = _lock(target)
        if expected_versions is not None and held.version not in expected_versions:
            raise PreconditionFailedError()
        if held.status == TargetStatus.DESTROYED:
            raise ConflictError(f"{held.name} is destroyed.", code="target_destroyed")
        before = {field: getattr(held, field) for field in changes}
        for field, value in changes.items():
            setattr(held, field, value)
        _clean(held)
        others = Target.objects.filter(project=held.project, name=held.name).exclude(pk=held.pk)
        if others.exclude(status=TargetStatus.DESTROYED).exists():
            raise ConflictError(
                f"A target named {held.name} exists already.", code="name_taken", field="name"
            )
        held.save()
        audit.record(
            project=held.project,
            actor=requested_by,
            action="target.update",
            subject=held.pk,
            detail={field: [before[field], value] for field, value in changes.items()},
        )
        return held


def _submit(
    target: Target,
    kind: str,
    requested_by: str,
    *,
    retry_of: Operation | None = None,
    idempotency_key: str | None = None,
    **values,
) -> Operation:
    operation = operation_submit(
        project=target.project,
        kind=kind,
        subject=target.subject,
        input={"target": target.pk, **values},
        created_by=requested_by,
        may_follow=BY_ITSELF,
        retry_of=retry_of,
        idempotency_key=idempotency_key,
    )
    audit.record(
        project=target.project,
        actor=requested_by,
        action=kind,
        subject=target.pk,
        detail={"operation": operation.pk, **values},
    )
    return operation


def target_destroy(*, target: Target, confirm: str, requested_by: str) -> Operation:
    """Destroy a target with its data; needs its name as confirmation and protection switched off.

    A target whose plan was never applied is only forgotten: protection guards data, and it has none.
    """
    with transaction.atomic():
        held = _lock(target)
        if held.status == TargetStatus.DESTROYED:
            raise ConflictError(f"{held.name} is destroyed already.", code="target_destroyed")
        if confirm != held.name:
            raise InvalidError(
                f'Send {{"confirm": "{held.name}"}} to destroy this target and its data.',
                field="confirm",
                code="confirmation_required",
            )
        # What was never applied holds no data to protect.
        if held.deletion_protection and held.status != TargetStatus.PENDING:
            raise ConflictError(
                f"{held.name} is protected against deletion: it holds data. "
                'Switch the protection off first: PATCH {"deletion_protection": false}.',
                code="deletion_protected",
            )
        operation = _submit(held, "target.destroy", requested_by, status_before=held.status)
        Target.objects.filter(pk=held.pk).update(status=TargetStatus.DESTROYING, status_reason="")
        return operation


def target_scale(*, target: Target, replicas: int, requested_by: str) -> Operation:
    """Run this many replicas."""
    engine = provider_for(target.provider)
    with transaction.atomic():
        held = _lock(target)
        _need_running(held, "scaling")
        spec = specs.validated_spec(engine, {**held.spec, "replicas": replicas}, prefix="")
        operation = _submit(
            held, "target.scale", requested_by, replicas=spec["replicas"], before=held.desired_replicas
        )
        held.spec, held.desired_replicas = spec, spec["replicas"]
        held.save(update_fields=["spec", "desired_replicas", "updated_at"])
        return operation


def target_restart(*, target: Target, requested_by: str) -> Operation:
    """Replace every replica by a fresh one of the same release, one at a time."""
    with transaction.atomic():
        held = _lock(target)
        _need_running(held, "a restart")
        return _submit(held, "target.restart", requested_by)


def rollout_start(
    *,
    target: Target,
    release: Release | None = None,
    image: str = "",
    config: dict | None = None,
    strategy: str = "rolling",
    steps: list | None = None,
    gates: dict | None = None,
    note: str = "",
    requested_by: str,
    idempotency_key: str | None = None,
) -> tuple[Rollout, Operation]:
    """Move a target to a release, given as such or as image and config; see `strategies` for the way.

    The same idempotency key gives the same rollout and operation.
    """
    steps, gates = validated_strategy(strategy, steps, gates)
    with transaction.atomic():
        held = _lock(target)
        _need_running(held, "a rollout")
        if release is None:
            release = release_create(
                project=held.project, image=image, config=config, note=note, created_by=requested_by
            )
        problems = runtime_for(provider_for(held.provider).runtime).validate(release.image, release.config)
        if problems:
            raise InvalidError(
                problems[0].message,
                errors=[{"field": p.field, "code": p.code, "message": p.message} for p in problems],
            )
        way = {"strategy": strategy, "steps": steps, "gates": gates}
        return _start_rollout(
            held, release, "target.rollout", requested_by, idempotency_key=idempotency_key, way=way
        )


def _start_rollout(
    target: Target,
    release: Release,
    kind: str,
    requested_by: str,
    *,
    retry_of: Operation | None = None,
    idempotency_key: str | None = None,
    way: dict | None = None,
) -> tuple[Rollout, Operation]:
    if idempotency_key:
        known = Operation.objects.filter(
            project=target.project, kind=kind, idempotency_key=idempotency_key
        ).first()
        if known:
            return Rollout.objects.get(operation=known.pk), known
    if way and way["strategy"] == CANARY and release.pk == target.release_id:
        raise InvalidError(
            f"{release} serves {target.name} already; a canary compares two releases.",
            field="release",
            code="same_release",
        )
    rollout = Rollout(
        target=target, release=release, previous=target.release, created_by=requested_by, **way or {}
    )
    operation = _submit(
        target,
        kind,
        requested_by,
        retry_of=retry_of,
        idempotency_key=idempotency_key,
        rollout=rollout.pk,
        release=release.pk,
    )
    rollout.operation = operation.pk
    rollout.save(force_insert=True)
    return rollout, operation


def _served_before(target: Target) -> Release | None:
    """The last release that served and is not the present one."""
    rollouts = Rollout.objects.filter(target=target, status=RolloutStatus.SUCCEEDED)
    for rollout in rollouts.select_related("release", "previous").order_by("-id"):
        for release in (rollout.release, rollout.previous):
            if release and release.pk != target.release_id:
                return release
    return None


def rollback_start(
    *,
    target: Target,
    release: Release | None = None,
    requested_by: str,
    idempotency_key: str | None = None,
) -> tuple[Rollout, Operation]:
    """Go back to a release that served before: the given one, or the last that differs from the present.

    The same idempotency key gives the same rollout and operation.
    """
    with transaction.atomic():
        held = _lock(target)
        _need_running(held, "a rollback")
        if release is None:
            release = _served_before(held)
        if release is None or release.pk == held.release_id:
            raise ConflictError("No other release has served on this target.", code="nothing_to_roll_back_to")
        return _start_rollout(held, release, "target.rollback", requested_by, idempotency_key=idempotency_key)


def rollout_retry(*, operation: Operation, requested_by: str) -> Operation:
    """Start the rollout of a failed or cancelled operation again, as a new rollout."""
    with transaction.atomic():
        target = Target.objects.select_for_update(no_key=True).get(pk=operation.input["target"])
        _need_running(target, "a rollout")
        before = Rollout.objects.select_related("release").get(pk=operation.input["rollout"])
        way = {"strategy": before.strategy, "steps": before.steps, "gates": before.gates}
        _, again = _start_rollout(
            target, before.release, operation.kind, requested_by, retry_of=operation, way=way
        )
        return again


def target_heal(*, target: Target, reason: str) -> Operation | None:
    """Bring the replicas back to what should run; None while another operation is under way."""
    try:
        return operation_submit(
            project=target.project,
            kind="target.heal",
            subject=target.subject,
            input={"target": target.pk, "reason": reason},
            created_by="system",
        )
    except OperationInProgressError:
        return None
