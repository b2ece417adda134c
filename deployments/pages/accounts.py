"""Accounts: the credentials that targets are made by."""

from django.contrib import messages
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from controlplane.errors import ProblemError
from controlplane.pages.access import actor, page
from controlplane.pages.forms import field_errors
from controlplane.pages.lookup import row_or_404
from controlplane.pages.paging import paginate
from deployments import accounts, selectors
from deployments.models import Account, AccountStatus
from deployments.pages.schema_form import form_fields, spec_from_form
from deployments.pages.targets import provider_label
from deployments.providers.base import provider_for, provider_names

PREFIX = "credentials."
TONES = {
    AccountStatus.WORKING: ("ok", "check"),
    AccountStatus.FAILING: ("failing", "cross"),
    AccountStatus.UNCHECKED: ("unknown", "question"),
}


def _account(request, account_id: str) -> Account:
    return row_or_404(selectors.accounts(request.project).select_related("project"), pk=account_id)


def _shown(account: Account) -> Account:
    account.tone, account.icon = TONES[AccountStatus(account.status)]
    account.label = provider_label(account.provider)
    return account


def providers_with_accounts() -> list[str]:
    """The providers that need one."""
    return [name for name in provider_names() if provider_for(name).credentials_schema]


@page()
def index(request):
    rows = selectors.accounts(request.project)
    wanted = request.GET.get("q", "").strip()
    if wanted:
        rows = rows.filter(name__icontains=wanted)
    sorts = {"name": "name", "provider": "provider", "checked": "checked_at", "targets": "used_by"}
    found = paginate(rows, request.GET, sorts=sorts, default="name")
    for one in found.items:
        _shown(one)
    return render(request, "deployments/accounts.html", {"section": "accounts", "page": found, "q": wanted})


def _form(request, account: Account | None, data, errors: dict) -> dict:
    names = providers_with_accounts()
    chosen = account.provider if account else data.get("provider") or (names[0] if names else "")
    schema = dict(provider_for(chosen).credentials_schema) if chosen in names else {}
    given = spec_from_form(schema, data, PREFIX)
    return {
        "section": "accounts",
        "account": account,
        "providers": [(name, provider_label(name)) for name in names],
        "chosen": chosen,
        "name": data.get("name", account.name if account else ""),
        "fields": form_fields(schema, given, errors, PREFIX),
        "given": given,
        "errors": errors,
    }


def _told(error: ProblemError, context: dict) -> dict:
    known = {"name", "provider"} | {one.name for one in context["fields"]}
    told = field_errors(error)
    strays = [text for field, text in told.items() if field not in known]
    return told | ({"form": " ".join(strays)} if strays else {})


@page("account.create")
def new(request):
    context = _form(request, None, request.POST if request.method == "POST" else request.GET, {})
    if request.method != "POST":
        return render(request, "deployments/account_form.html", context)
    try:
        made = accounts.account_create(
            project=request.project,
            name=context["name"],
            provider=context["chosen"],
            credentials=context["given"],
            created_by=actor(request),
        )
    except ProblemError as error:
        context = _form(request, None, request.POST, _told(error, context))
        return render(request, "deployments/account_form.html", context, status=422)
    return _checked(request, made, f"{made.name} is kept.")


@page("account.update")
def change(request, account_id):
    held = _account(request, account_id)
    context = _form(request, held, request.POST, {})
    if request.method != "POST":
        return render(request, "deployments/account_form.html", context)
    try:
        held = accounts.account_update(
            account=held,
            requested_by=actor(request),
            name=context["name"],
            # Nothing typed leaves the credentials as they are.
            credentials=context["given"] if any(context["given"].values()) else None,
        )
    except ProblemError as error:
        context = _form(request, held, request.POST, _told(error, context))
        return render(request, "deployments/account_form.html", context, status=422)
    return _checked(request, held, f"{held.name} is changed.")


def _checked(request, account: Account, done: str):
    """Check at once, so that a mistake shows while it is fresh."""
    try:
        account = accounts.account_check(account=account, requested_by=actor(request))
    except ProblemError as error:
        messages.error(request, error.detail)
        return redirect("account", account.pk)
    if account.status == AccountStatus.FAILING:
        messages.error(request, f"{done} It does not work yet.")
    else:
        messages.success(request, f"{done} It works.")
    return redirect("account", account.pk)


@page()
def account(request, account_id):
    held = _shown(_account(request, account_id))
    targets = held.targets.exclude(status="destroyed").order_by("name")
    context = {"section": "accounts", "account": held, "targets": targets, "problems": held.problems}
    return render(request, "deployments/account.html", context)


@page("account.check")
@require_POST
def check(request, account_id):
    return _checked(request, _account(request, account_id), "Checked.")


@page("account.delete")
def delete(request, account_id):
    held = _shown(_account(request, account_id))
    if request.method == "POST":
        try:
            accounts.account_delete(account=held, requested_by=actor(request))
        except ProblemError as error:
            messages.error(request, error.detail)
            return redirect("account", held.pk)
        messages.success(request, f"{held.name} is deleted.")
        return redirect("accounts")
    return render(request, "deployments/account_delete.html", {"section": "accounts", "account": held})
