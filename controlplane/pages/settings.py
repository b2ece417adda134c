"""Settings pages: account and appearance, API keys, the audit log."""

from datetime import datetime, timedelta

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from controlplane import members, services
from controlplane.errors import ProblemError
from controlplane.models import ApiKey, AuditEntry, Role, User
from controlplane.pages.access import actor, page
from controlplane.pages.forms import field_errors
from controlplane.pages.lookup import row_or_404
from controlplane.pages.paging import paginate

THEMES = [
    ("system", "Like the system", "Follows your device's light or dark setting."),
    ("light", "Light", "Dark text on white."),
    ("dark", "Dark", "Light text on near black."),
]
LIFETIMES = [("", "Never"), ("30", "30 days"), ("90", "90 days"), ("365", "1 year")]


@login_required
def index(request):
    return redirect("appearance")


@login_required
def appearance(request):
    """The signed-in user's own theme and password."""
    if request.method == "POST":
        theme = request.POST.get("theme", "")
        if theme in {name for name, _, _ in THEMES}:
            User.objects.filter(pk=request.user.pk).update(theme=theme)
            messages.success(request, "Appearance saved.")
        return redirect("appearance")
    return render(request, "controlplane/appearance.html", {"section": "appearance", "themes": THEMES})


@login_required
@require_POST
def password(request):
    new, again = request.POST.get("new", ""), request.POST.get("again", "")
    errors = {}
    if new != again:
        errors = {"again": "The two new passwords differ."}
    else:
        try:
            members.password_change(user=request.user, current=request.POST.get("current", ""), new=new)
        except ProblemError as error:
            errors = field_errors(error)
    if errors:
        context = {"section": "appearance", "themes": THEMES, "errors": errors}
        return render(request, "controlplane/appearance.html", context, status=422)
    update_session_auth_hash(request, request.user)
    messages.success(request, "Password changed. Other sessions are signed out.")
    return redirect("appearance")


@page("api_key.create")
def api_keys(request):
    """Keys with their use; a new key's text is shown this once."""
    errors, made = {}, None
    if request.method == "POST":
        days = request.POST.get("days", "")
        try:
            key, text = services.api_key_create(
                project=request.project,
                name=request.POST.get("name", ""),
                role=request.POST.get("role", ""),
                created_by=actor(request),
                expires_at=timezone.now() + timedelta(days=int(days)) if days.isdigit() else None,
            )
            made = {"key": key, "text": text}
        except ProblemError as error:
            errors = field_errors(error, ("name", "role"))
    rows = ApiKey.objects.filter(project=request.project)
    wanted = request.GET.get("q", "").strip()
    if wanted:
        rows = rows.filter(name__icontains=wanted)
    if request.GET.get("revoked") != "1":
        rows = rows.filter(revoked_at=None)
    found = paginate(
        rows, request.GET, sorts={"name": "name", "created": "created_at", "role": "role"}, default="-created"
    )
    now = timezone.now()
    for key in found:
        expired = key.expires_at and key.expires_at <= now
        key.state = "revoked" if key.revoked_at else "expired" if expired else "active"
    context = {
        "section": "api-keys",
        "page": found,
        "q": wanted,
        "made": made,
        "errors": errors,
        "roles": Role.choices,
        "lifetimes": LIFETIMES,
        "given": request.POST,
    }
    return render(request, "controlplane/api_keys.html", context, status=422 if errors else 200)


@page("api_key.create")
def api_key_revoke_page(request, key_id):
    key = row_or_404(ApiKey, project=request.project, pk=key_id)
    if request.method == "POST":
        services.api_key_revoke(key=key, revoked_by=actor(request))
        messages.success(request, f"Key {key.name} is revoked.")
        return redirect("api-keys")
    return render(request, "controlplane/api_key_revoke.html", {"section": "api-keys", "key": key})


@page("audit.read")
def audit_log(request):
    """Who did what, newest first, by text and time."""
    rows = AuditEntry.objects.filter(project=request.project)
    wanted = {name: request.GET.get(name, "").strip() for name in ("actor", "action", "subject", "since")}
    if wanted["actor"]:
        rows = rows.filter(actor__icontains=wanted["actor"])
    if wanted["action"]:
        rows = rows.filter(action__startswith=wanted["action"])
    if wanted["subject"]:
        rows = rows.filter(subject=wanted["subject"])
    try:
        since = timezone.make_aware(datetime.fromisoformat(wanted["since"])) if wanted["since"] else None
    except ValueError:
        since = None
    if since:
        rows = rows.filter(at__gte=since)
    found = paginate(rows, request.GET, sorts={"at": "sequence"}, default="-at")
    context = {"section": "audit", "page": found, "wanted": wanted}
    return render(request, "controlplane/audit.html", context)
