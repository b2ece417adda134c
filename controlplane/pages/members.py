"""Members of the project and their roles."""

from django.contrib import messages
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from controlplane.errors import ProblemError
from controlplane.members import member_add, member_change_role, member_remove
from controlplane.models import Membership, Role
from controlplane.pages.access import actor, page
from controlplane.pages.forms import field_errors
from controlplane.pages.lookup import row_or_404
from controlplane.pages.paging import paginate

FIELDS = ("username", "role", "password", "email")


def _membership(request, member_id) -> Membership:
    rows = Membership.objects.select_related("user", "project")
    return row_or_404(rows, project=request.project, pk=member_id)


@page("member.update")
def index(request):
    rows = Membership.objects.filter(project=request.project).select_related("user")
    wanted = request.GET.get("q", "").strip()
    if wanted:
        rows = rows.filter(user__username__icontains=wanted)
    found = paginate(
        rows,
        request.GET,
        sorts={"name": "user__username", "role": "role", "since": "created_at"},
        default="name",
    )
    context = {"section": "members", "page": found, "q": wanted, "roles": Role.choices}
    return render(request, "controlplane/members.html", context)


@page("member.update")
def add(request):
    errors = {}
    if request.method == "POST":
        try:
            made = member_add(
                project=request.project,
                added_by=actor(request),
                **{name: request.POST.get(name, "") for name in FIELDS},
            )
        except ProblemError as error:
            errors = field_errors(error, FIELDS)
        else:
            messages.success(request, f"{made.user.username} is now {made.role}.")
            return redirect("members")
    context = {"section": "members", "roles": Role.choices, "errors": errors, "given": request.POST}
    return render(request, "controlplane/member_add.html", context, status=422 if errors else 200)


@page("member.update")
@require_POST
def change(request, member_id):
    held = _membership(request, member_id)
    try:
        held = member_change_role(
            membership=held, role=request.POST.get("role", ""), changed_by=actor(request)
        )
        messages.success(request, f"{held.user.username} is now {held.role}.")
    except ProblemError as error:
        messages.error(request, error.detail)
    return redirect("members")


@page("member.update")
def remove(request, member_id):
    held = _membership(request, member_id)
    if request.method == "POST":
        try:
            member_remove(membership=held, removed_by=actor(request))
            messages.success(request, f"{held.user.username} is no longer a member.")
        except ProblemError as error:
            messages.error(request, error.detail)
        return redirect("members")
    return render(request, "controlplane/member_remove.html", {"section": "members", "member": held})
