"""Use cases of fleets and their rollouts."""

from collections.abc import Sequence

from django.core.exceptions import ValidationError
from django.db import transaction

from controlplane import audit
from controlplane.errors import ConflictError, InvalidError, NotFoundError
from deployments import selectors
from deployments.fleets.models import (
    OPEN,
    ROLES,
    Fleet,
    FleetMember,
    FleetMove,
    FleetRollout,
    FleetRolloutStatus,
    MoveStatus,
    OnFailure,
    PauseAfter,
)
from deployments.models import Release, Target, TargetStatus, name_validator
from deployments.services import release_create
from deployments.strategies import ROLLING, validated_strategy
from worker.models import Operation
from worker.services import operation_cancel, operation_submit, operation_wake

MOST_MEMBERS = 100
KIND = "fleet.rollout"


def _lock(fleet: Fleet) -> Fleet:
    held = Fleet.objects.select_for_update(no_key=True).filter(pk=fleet.pk).first()
    if held is None:
        raise NotFoundError(f"{fleet.name} was deleted meanwhile.")
    return held


def _members(project, members: Sequence[dict]) -> list[tuple[Target, str]]:
    """The targets that `[{target, role}]` names, each with its role (its own when none is given)."""
    if len(members) > MOST_MEMBERS:
        raise InvalidError(f"A fleet may have up to {MOST_MEMBERS} targets.", field="members")
    found: list[tuple[Target, str]] = []
    for number, member in enumerate(members):
        field = f"members.{number}.target"
        try:
            target = selectors.target_find(project, member["target"])
        except NotFoundError as error:
            raise InvalidError(error.detail, field=field, code="not_found") from None
        if target.status == TargetStatus.DESTROYED:
            raise InvalidError(f"{target.name} is destroyed.", field=field)
        if any(target.pk == other.pk for other, _ in found):
            raise InvalidError(f"{target.name} is named twice.", field=field, code="duplicate")
        role = member.get("role") or target.role
        if role not in dict(ROLES):
            raise InvalidError(
                f"{role!r} is not one of {', '.join(dict(ROLES))}.", field=f"members.{number}.role"
            )
        found.append((target, role))
    return found


def _write_members(fleet: Fleet, found: list[tuple[Target, str]]) -> None:
    FleetMember.objects.filter(fleet=fleet).delete()
    FleetMember.objects.bulk_create(
        FleetMember(fleet=fleet, target=target, role=role, position=position)
        for position, (target, role) in enumerate(found)
    )


def _check_name(fleet: Fleet) -> None:
    try:
        name_validator(fleet.name)
    except ValidationError as error:
        raise InvalidError(error.message, field="name") from None
    if Fleet.objects.filter(project=fleet.project, name=fleet.name).exclude(pk=fleet.pk).exists():
        raise ConflictError(
            f"A fleet named {fleet.name} exists already; choose another name.",
            code="name_taken",
            field="name",
        )


def fleet_create(*, project, name: str, members: Sequence[dict] = (), created_by: str) -> Fleet:
    """A fleet of targets `[{target, role}]`, in the order in which a release shall reach them."""
    with transaction.atomic():
        type(project).objects.select_for_update(no_key=True).get(pk=project.pk)
        fleet = Fleet(project=project, name=name, created_by=created_by)
        _check_name(fleet)
        found = _members(project, members)
        fleet.save(force_insert=True)
        _write_members(fleet, found)
        audit.record(
            project=project,
            actor=created_by,
            action="fleet.create",
            subject=fleet.pk,
            detail={"name": name, "targets": [target.name for target, _ in found]},
        )
        return fleet


def fleet_update(
    *, fleet: Fleet, name: str | None = None, members: Sequence[dict] | None = None, requested_by: str
) -> Fleet:
    """Another name, or the whole new list of members. A rollout under way keeps those it began with."""
    with transaction.atomic():
        type(fleet.project).objects.select_for_update(no_key=True).get(pk=fleet.project_id)
        held = _lock(fleet)
        detail: dict = {}
        if name is not None:
            detail["name"], held.name = [held.name, name], name
            _check_name(held)
        if members is not None:
            found = _members(held.project, members)
            _write_members(held, found)
            detail["targets"] = [target.name for target, _ in found]
        held.save()
        audit.record(
            project=held.project, actor=requested_by, action="fleet.update", subject=held.pk, detail=detail
        )
        return held


def fleet_delete(*, fleet: Fleet, requested_by: str) -> None:
    """Forget a fleet and the reports of its rollouts; its targets stay as they are."""
    with transaction.atomic():
        held = _lock(fleet)
        running = FleetRollout.objects.filter(fleet=held, status__in=OPEN).first()
        if running:
            raise ConflictError(
                f"A rollout of {held.name} is under way ({running.pk}); abort it or wait for its end.",
                code="operation_in_progress",
            )
        audit.record(
            project=held.project,
            actor=requested_by,
            action="fleet.delete",
            subject=held.pk,
            detail={"name": held.name},
        )
        held.delete()


def waves(targets: Sequence[Target], canary: Target, max_parallel: int) -> list[list[Target]]:
    """The canary alone, then the others in their order, so many at once."""
    rest = [target for target in targets if target.pk != canary.pk]
    return [[canary], *(rest[at : at + max_parallel] for at in range(0, len(rest), max_parallel))]


def fleet_rollout_start(
    *,
    fleet: Fleet,
    release: Release | None = None,
    image: str = "",
    config: dict | None = None,
    note: str = "",
    canary: str = "",
    max_parallel: int = 1,
    max_failures: int = 0,
    on_failure: str = OnFailure.STOP,
    pause_after: str = PauseAfter.NEVER,
    options: dict | None = None,
    requested_by: str,
    retry_of: Operation | None = None,
) -> tuple[FleetRollout, Operation]:
    """Move every target of a fleet to a release: the canary first, then the others in waves.

    `canary` names a member, the first one when empty. `options` go to each target's own rollout as they
    are: {strategy, steps, gates}.
    """
    options = options or {}
    validated_strategy(options.get("strategy", ROLLING), options.get("steps"), options.get("gates"))
    with transaction.atomic():
        held = _lock(fleet)
        members = [
            member
            for member in held.members.select_related("target").order_by("position")
            if member.target.status != TargetStatus.DESTROYED
        ]
        if not members:
            raise ConflictError(f"{held.name} has no targets; add some first.", code="fleet_empty")
        by_target = {member.target_id: member for member in members}
        first = members[0]
        if canary:
            named = [one for one in members if canary in (one.target.name, one.target_id)]
            if not named:
                raise InvalidError(f"{canary!r} is no target of {held.name}.", field="canary")
            first = named[0]
        if release is None:
            release = release_create(
                project=held.project, image=image, config=config, note=note, created_by=requested_by
            )
        rollout = FleetRollout(
            fleet=held,
            release=release,
            max_parallel=max_parallel,
            max_failures=max_failures,
            on_failure=on_failure,
            pause_after=pause_after,
            options=options,
            created_by=requested_by,
        )
        operation = operation_submit(
            project=held.project,
            kind=KIND,
            subject=held.subject,
            input={"fleet": held.pk, "fleet_rollout": rollout.pk, "release": release.pk, "name": held.name},
            created_by=requested_by,
            retry_of=retry_of,
        )
        rollout.operation = operation.pk
        rollout.save(force_insert=True)
        position = 0
        planned = waves([member.target for member in members], first.target, max_parallel)
        for number, wave in enumerate(planned):
            for target in wave:
                FleetMove.objects.create(
                    fleet_rollout=rollout,
                    target=target,
                    role=by_target[target.pk].role,
                    position=position,
                    wave=number,
                    before_id=target.release_id,
                )
                position += 1
        audit.record(
            project=held.project,
            actor=requested_by,
            action="fleet.rollout",
            subject=held.pk,
            detail={"operation": operation.pk, "fleet_rollout": rollout.pk, "release": release.pk},
        )
        return rollout, operation


def fleet_rollout_retry(*, operation: Operation, requested_by: str) -> Operation:
    """The rollout of a failed or cancelled operation again, as a new one over the fleet as it is now."""
    former = FleetRollout.objects.select_related("fleet", "release").get(pk=operation.input["fleet_rollout"])
    canary = former.moves.order_by("position").first()
    known = FleetMember.objects.filter(fleet=former.fleet, target=canary.target_id).exists()
    _, again = fleet_rollout_start(
        fleet=former.fleet,
        release=former.release,
        canary=canary.target_id if known and canary.target.status != TargetStatus.DESTROYED else "",
        max_parallel=former.max_parallel,
        max_failures=former.max_failures,
        on_failure=former.on_failure,
        pause_after=former.pause_after,
        options=former.options,
        requested_by=requested_by,
        retry_of=operation,
    )
    return again


def _lock_open(rollout: FleetRollout) -> FleetRollout:
    # The operation's row first, as its steps lock them.
    Operation.objects.select_for_update(no_key=True).get(pk=rollout.operation)
    held = FleetRollout.objects.select_for_update(no_key=True).select_related("fleet").get(pk=rollout.pk)
    if held.finished_at is not None:
        raise ConflictError(f"This rollout has ended already ({held.status}).", code="rollout_finished")
    return held


def _record(rollout: FleetRollout, verb: str, requested_by: str) -> None:
    audit.record(
        project=rollout.fleet.project,
        actor=requested_by,
        action=f"fleet.rollout.{verb}",
        subject=rollout.fleet_id,
        detail={"fleet_rollout": rollout.pk},
    )


def fleet_rollout_abort(*, rollout: FleetRollout, requested_by: str) -> Operation:
    """Stop everywhere and take every target back to what served before, those that have moved too.

    Once this has answered the rollout cannot succeed: its last step looks under the same lock.
    """
    with transaction.atomic():
        held = _lock_open(rollout)
        _record(held, "abort", requested_by)
        return operation_cancel(operation=Operation.objects.get(pk=held.operation), requested_by=requested_by)


def fleet_rollout_pause(*, rollout: FleetRollout, requested_by: str) -> FleetRollout:
    """Begin no further wave; what moves now is let to its end. Pausing twice is pausing once."""
    with transaction.atomic():
        held = _lock_open(rollout)
        if held.status == FleetRolloutStatus.ROLLING_BACK:
            raise ConflictError("It is on its way back, which is not paused.", code="rolling_back")
        if not held.moves.filter(status=MoveStatus.PENDING).exists():
            raise ConflictError("Its last wave is under way; abort it to go back.", code="last_wave")
        if not held.pause_requested:
            held.pause_requested = True
            held.save(update_fields=["pause_requested"])
            _record(held, "pause", requested_by)
            operation_wake(subject=held.fleet.subject)
        return held


def fleet_rollout_resume(*, rollout: FleetRollout, requested_by: str) -> FleetRollout:
    """Go on with the next wave; ConflictError when it is not paused."""
    with transaction.atomic():
        held = _lock_open(rollout)
        if not held.pause_requested:
            raise ConflictError("It is not paused.", code="not_paused")
        held.pause_requested = False
        held.save(update_fields=["pause_requested"])
        if held.status == FleetRolloutStatus.PAUSED:
            held.status = FleetRolloutStatus.RUNNING
            held.save(update_fields=["status"])
        _record(held, "resume", requested_by)
        operation_wake(subject=held.fleet.subject)
        return held
