"""Use cases of users and their membership in projects."""

from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.db import transaction

from controlplane import actors, audit
from controlplane.errors import ConflictError, InvalidError
from controlplane.models import Membership, Project, Role, User


class LastAdminError(ConflictError):
    """A project keeps at least one administrator: make somebody else one first."""

    code = "last_admin"


def _role(role: str) -> str:
    if role not in Role.values:
        raise InvalidError(f"Choose one of {', '.join(Role.values)}.", field="role")
    return role


def _checked_password(password: str, user: User) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InvalidError(" ".join(error.messages), field="password") from None


def _others_administer(membership: Membership) -> bool:
    admins = Membership.objects.filter(project=membership.project, role=Role.ADMIN)
    return admins.exclude(pk=membership.pk).exists()


def member_add(
    *, project: Project, username: str, role: str, password: str = "", email: str = "", added_by: str
) -> Membership:
    """Make a user a member; one that does not exist yet is made with `password`."""
    username = username.strip()
    _role(role)
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        user = User.objects.filter(username=username).first()
        if user is None:
            try:
                UnicodeUsernameValidator()(username)
            except ValidationError as error:
                raise InvalidError(error.messages[0], field="username") from None
            if not password:
                raise InvalidError("A new user needs a password to sign in with.", field="password")
            user = User(username=username, email=email.strip())
            _checked_password(password, user)
            user.set_password(password)
            user.save(force_insert=True)
        elif password:
            raise ConflictError(
                f"There is a user named {username} already; leave the password out to add that user.",
                code="name_taken",
                field="username",
            )
        if Membership.objects.filter(project=project, user=user).exists():
            raise ConflictError(
                f"{username} is a member of {project.name} already.", code="member_already", field="username"
            )
        membership = Membership.objects.create(project=project, user=user, role=role)
        audit.record(
            project=project,
            actor=added_by,
            action="member.add",
            subject=membership.pk,
            detail={"user": username, "role": role},
        )
        return membership


def member_change_role(*, membership: Membership, role: str, changed_by: str) -> Membership:
    """Give a member another role; the last administrator stays one."""
    _role(role)
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=membership.project_id)
        held = Membership.objects.select_related("user", "project").get(pk=membership.pk)
        if held.role == Role.ADMIN and role != Role.ADMIN and not _others_administer(held):
            raise LastAdminError()
        before, held.role = held.role, role
        held.save(update_fields=["role"])
        audit.record(
            project=held.project,
            actor=changed_by,
            action="member.change_role",
            subject=held.pk,
            detail={"user": held.user.username, "role": [before, role]},
        )
    actors.forget()
    return held


def member_remove(*, membership: Membership, removed_by: str) -> None:
    """End a membership; the user stays, as the audit log names it."""
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=membership.project_id)
        if membership.role == Role.ADMIN and not _others_administer(membership):
            raise LastAdminError()
        audit.record(
            project=membership.project,
            actor=removed_by,
            action="member.remove",
            subject=membership.pk,
            detail={"user": membership.user.username, "role": membership.role},
        )
        membership.delete()
    actors.forget()


def password_change(*, user: User, current: str, new: str) -> None:
    """Set a new password; the current one proves who asks."""
    if not user.check_password(current):
        raise InvalidError("That is not your current password.", field="current")
    _checked_password(new, user)
    user.set_password(new)
    user.save(update_fields=["password"])
    audit.record(project=None, actor=f"user:{user.username}", action="user.change_password", subject=user.pk)
