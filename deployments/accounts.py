"""Use cases of accounts: credentials are given, kept encrypted, checked, and never shown again."""

from django.db import IntegrityError, transaction
from django.utils import timezone

from controlplane import audit
from controlplane.errors import ConflictError, InvalidError
from controlplane.ids import decode
from deployments import specs
from deployments.errors import ProviderError
from deployments.models import Account, AccountStatus, TargetStatus, name_validator
from deployments.providers.base import Provider, Secret, as_json, provider_for, provider_names


def account_for(project, engine: Provider, reference: str) -> Account | None:
    """The account a target of this provider is made by.

    Its only one when none is named; InvalidError when it is needed and missing, or of another provider.
    """
    if not engine.credentials_schema:
        if reference:
            raise InvalidError(f"{engine.label} needs no account.", field="account")
        return None
    rows = Account.objects.filter(project=project, provider=engine.name)
    if not reference:
        found = list(rows[:2])
        if len(found) == 1:
            return found[0]
        raise InvalidError(
            f"{engine.label} needs an account: {'name one of yours' if found else 'make one first'}.",
            field="account",
            code="account_missing",
        )
    field = "pk" if reference.startswith("acc_") else "name"
    found = rows.filter(**{field: reference}).first() if _is_reference(reference) else None
    if found is None:
        raise InvalidError(f"There is no account {reference[:60]!r} of {engine.label}.", field="account")
    return found


def _is_reference(text: str) -> bool:
    if not text.startswith("acc_"):
        return True
    try:
        decode("acc", text)
    except ValueError:
        return False
    return True


def _accepted(engine: Provider, credentials: dict):
    schema = dict(engine.credentials_schema)
    if not schema:
        raise InvalidError(f"{engine.label} needs no account.", field="provider")
    errors = specs.problems_by_schema(schema, credentials, "credentials")
    if errors:
        raise InvalidError("The credentials are not of the provider's schema.", errors=errors)
    try:
        return engine.accept_credentials(specs.with_defaults(schema, credentials))
    except ProviderError as error:
        raise InvalidError(f"{error} {error.remedy}".strip(), field="credentials", code=error.code) from None


def _check_name(name: str) -> str:
    name = name.strip()
    if not name_validator.regex.match(name):
        raise InvalidError(str(name_validator.message), field="name")
    return name


def _save(account: Account, **options) -> None:
    try:
        with transaction.atomic():
            account.save(**options)
    except IntegrityError as error:
        raise ConflictError(
            f"An account named {account.name} exists already; choose another name.",
            code="name_taken",
            field="name",
        ) from error


def account_create(*, project, name: str, provider: str, credentials: dict, created_by: str) -> Account:
    """Keep credentials of a provider. They are looked at, not used: `account_check` does that."""
    if provider not in provider_names():
        raise InvalidError(
            f"There is no provider {provider[:60]!r}; choose {', '.join(provider_names())}.", field="provider"
        )
    accepted = _accepted(provider_for(provider), credentials)
    account = Account(
        project=project,
        name=_check_name(name),
        provider=provider,
        credentials=dict(accepted.secrets.values),
        details=dict(accepted.shown),
        created_by=created_by,
    )
    with transaction.atomic():
        _save(account, force_insert=True)
        _record(account, "account.create", created_by, provider=provider)
    return account


def account_update(
    *, account: Account, requested_by: str, name: str | None = None, credentials: dict | None = None
) -> Account:
    """Rename it, or replace its credentials; those of before are gone then."""
    with transaction.atomic():
        held = Account.objects.select_for_update().get(pk=account.pk)
        changed = []
        if name is not None:
            held.name = _check_name(name)
            changed.append("name")
        if credentials is not None:
            accepted = _accepted(provider_for(held.provider), credentials)
            held.credentials, held.details = dict(accepted.secrets.values), dict(accepted.shown)
            held.status, held.problems, held.checked_at = AccountStatus.UNCHECKED, [], None
            changed.append("credentials")
        if changed:
            _save(held)
            _record(held, "account.update", requested_by, changed=changed)
    return held


def account_delete(*, account: Account, requested_by: str) -> None:
    """Forget it; ConflictError while a target is made by it."""
    with transaction.atomic():
        held = Account.objects.select_for_update().get(pk=account.pk)
        names = held.targets.exclude(status=TargetStatus.DESTROYED).values_list("name", flat=True)[:3]
        if names:
            raise ConflictError(
                f"{held.name} is used by {', '.join(names)}; destroy these targets first.",
                code="account_used",
            )
        _record(held, "account.delete", requested_by, name=held.name)
        held.delete()


def account_check(*, account: Account, requested_by: str) -> Account:
    """Use the credentials now, and remember what was found."""
    # Outside of any transaction: the cluster may take its time.
    problems = provider_for(account.provider).check_credentials(Secret(dict(account.credentials)))
    failing = any(one.severity == "error" for one in problems)
    with transaction.atomic():
        held = Account.objects.select_for_update().get(pk=account.pk)
        if dict(held.credentials) != dict(account.credentials):
            raise ConflictError("The credentials were replaced meanwhile; check again.", code="changed")
        held.status = AccountStatus.FAILING if failing else AccountStatus.WORKING
        held.problems = [as_json(one) for one in problems]
        held.checked_at = timezone.now()
        held.save(update_fields=["status", "problems", "checked_at", "updated_at"])
        _record(held, "account.check", requested_by, status=held.status)
    return held


def _record(account: Account, action: str, actor: str, **detail) -> None:
    audit.record(project=account.project, actor=actor, action=action, subject=account.pk, detail=detail)
