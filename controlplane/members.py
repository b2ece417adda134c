"""Use cases of a project's members."""

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from controlplane import actors, audit
from controlplane.errors import ConflictError, InvalidError
from controlplane.models import Membership, Project, Role, User


def member_add(
    *, project: Project, username: str, role: str, email: str = "", password: str = "", added_by: str
) -> Membership:
    """Make a user a member; with a password, a user of that name is made first."""
    with transaction.atomic():
        Project.objects.select_for_update().get(pk=project.pk)
        user = User.objects.filter(username=username).first()
        if user is None:
            user = _new_user(username, email, password)
        elif password:
            raise ConflictError(
                f"A user named {username} exists already; leave the password out to add that user.",
                code="name_taken",
                field="username",
            )
        if Membership.objects.filter(project=project, user=user).exists():
            raise ConflictError(
                f"{username} is a member already; change the role with PATCH.", field="username"
            )
        member = Membership.objects.create(project=project, user=user, role=Role(role))
        _record(member, "member.add", added_by, role=member.role)
        return member


def _new_user(username: str, email: str, password: str) -> User:
    if not password:
        raise InvalidError(
            f"There is no user named {username}; give a password to make one.",
            field="password",
            code="required",
        )
    user = User(username=username, email=email)
    try:
        user.set_unusable_password()
        user.full_clean()
    except ValidationError as error:
        raise InvalidError(
            errors=[
                {"field": field, "code": "invalid", "message": " ".join(texts)}
                for field, texts in error.message_dict.items()
            ]
        ) from None
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InvalidError(" ".join(error.messages), field="password", code="weak_password") from None
    user.set_password(password)
    user.save(force_insert=True)
    return user


def member_update(*, member: Membership, role: str, changed_by: str) -> Membership:
    """Change a member's role; the project keeps an administrator."""
    with transaction.atomic():
        held = _held(member)
        before = held.role
        held.role = Role(role)
        if held.role != Role.ADMIN:
            _keep_an_admin(held)
        held.save(update_fields=["role"])
        _record(held, "member.update", changed_by, role=[before, held.role])
    actors.forget()
    return held


def member_remove(*, member: Membership, removed_by: str) -> None:
    """End a membership; the user stays, and the project keeps an administrator."""
    with transaction.atomic():
        held = _held(member)
        _keep_an_admin(held)
        _record(held, "member.remove", removed_by, role=held.role)
        held.delete()
    actors.forget()


def _held(member: Membership) -> Membership:
    Project.objects.select_for_update().get(pk=member.project_id)
    return Membership.objects.select_related("user", "project").get(pk=member.pk)


def _keep_an_admin(member: Membership) -> None:
    others = Membership.objects.filter(project=member.project, role=Role.ADMIN).exclude(pk=member.pk)
    if not others.exists() and Membership.objects.filter(pk=member.pk, role=Role.ADMIN).exists():
        raise ConflictError(
            f"{member.user.username} is the last administrator of this project; make another one first.",
            code="last_admin",
        )


def _record(member: Membership, action: str, actor: str, **detail) -> None:
    audit.record(
        project=member.project,
        actor=actor,
        action=action,
        subject=member.pk,
        detail={"username": member.user.username, **detail},
    )
