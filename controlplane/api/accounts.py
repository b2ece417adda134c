"""REST: tokens, projects, members, API keys and the audit log."""

from django.contrib.auth import authenticate
from django.db.models import Q
from rest_framework import serializers
from rest_framework.response import Response

from controlplane import members, selectors
from controlplane.actors import TOKEN_SECONDS, actor_for_user, token_issue
from controlplane.api.pagination import ListQuery
from controlplane.api.serializers import JsonObject, StrictSerializer
from controlplane.api.views import ApiView, Route, list_route
from controlplane.errors import ForbiddenError, UnauthenticatedError
from controlplane.models import AuditEntry, Role
from controlplane.services import api_key_create, api_key_revoke
from controlplane.throttle import count_sign_in

BY_NAME = {"name": "name", "-name": "-name", "-created_at": "-pk", "created_at": "pk"}


class TokenRequest(StrictSerializer):
    """A user's name and password."""

    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=1000, trim_whitespace=False, style={"input_type": "password"})
    project = serializers.CharField(
        max_length=63, required=False, help_text="Name or id; by default the project joined first."
    )
    lifetime_seconds = serializers.IntegerField(min_value=60, max_value=3600, default=TOKEN_SECONDS)


class ProjectOut(serializers.Serializer):
    """A project."""

    id = serializers.CharField()
    name = serializers.CharField()
    created_at = serializers.DateTimeField()


class Token(serializers.Serializer):
    """A token for `Authorization: Bearer`."""

    token = serializers.CharField()
    token_type = serializers.ChoiceField(choices=["Bearer"])
    expires_at = serializers.DateTimeField()
    project = ProjectOut()
    role = serializers.ChoiceField(choices=Role.choices)


class TokensView(ApiView):
    tag = "Administration"
    authentication_classes = []
    routes = {"POST": Route(None, "Sign in", {201: Token}, body=TokenRequest, idempotent=False)}

    def post(self, request):
        """A short-lived token for a user's name and password. Tries are limited."""
        values = self.values
        count_sign_in(values["username"], request.META.get("REMOTE_ADDR", ""))
        user = authenticate(request._request, username=values["username"], password=values["password"])
        if user is None:
            raise UnauthenticatedError("The user name or the password is wrong.", code="wrong_credentials")
        actor = actor_for_user(user, values.get("project"))
        if actor is None:
            raise ForbiddenError("You are not a member of this project; ask an administrator to add you.")
        text, expires_at = token_issue(actor=actor, lifetime_seconds=values["lifetime_seconds"])
        token = {
            "token": text,
            "token_type": "Bearer",
            "expires_at": expires_at,
            "project": actor.project,
            "role": actor.role,
        }
        return self.answer(token, status=201, headers={"Cache-Control": "no-store"})


class ProjectQuery(ListQuery):
    """Query of the list of projects."""

    sorts = BY_NAME


class ProjectsView(ApiView):
    tag = "Administration"
    routes = {"GET": list_route("project.read", "List projects", ProjectOut, ProjectQuery)}

    def get(self, request):
        """The projects you may see."""
        return self.answer_page(selectors.projects_of(self.actor))


class ProjectView(ApiView):
    tag = "Administration"
    routes = {"GET": Route("project.read", "Show a project", {200: ProjectOut})}

    def get(self, request, project):
        """A project by name or id."""
        return self.answer(
            selectors.by_id_or_name(selectors.projects_of(self.actor), "prj", project, what="project")
        )


class MemberOut(serializers.Serializer):
    """A user's membership of the project."""

    id = serializers.CharField()
    username = serializers.CharField(source="user.username")
    email = serializers.CharField(source="user.email")
    role = serializers.ChoiceField(choices=Role.choices)
    created_at = serializers.DateTimeField()


class MemberAdd(StrictSerializer):
    """A new member."""

    username = serializers.CharField(max_length=150)
    role = serializers.ChoiceField(choices=Role.choices)
    email = serializers.EmailField(required=False, default="")
    password = serializers.CharField(
        max_length=1000,
        required=False,
        default="",
        trim_whitespace=False,
        help_text="Makes the user; leave it out for one that exists.",
        style={"input_type": "password"},
    )


class MemberUpdate(StrictSerializer):
    """What of a member may be changed."""

    role = serializers.ChoiceField(choices=Role.choices)


class MemberQuery(ListQuery):
    """Query of the list of members."""

    role = serializers.ChoiceField(choices=Role.choices, required=False)


class MembersView(ApiView):
    tag = "Administration"
    routes = {
        "GET": list_route("member.read", "List members", MemberOut, MemberQuery),
        "POST": Route("member.add", "Add a member", {201: MemberOut}, body=MemberAdd),
    }

    def get(self, request):
        """The project's members."""
        rows = selectors.members(self.project)
        if "role" in self.params:
            rows = rows.filter(role=self.params["role"])
        return self.answer_page(rows)

    def post(self, request):
        """Make a user a member; a user that does not exist is made when a password is given."""
        member = members.member_add(project=self.project, added_by=self.actor.name, **self.values)
        return self.answer(member, status=201, headers={"Location": f"/api/v1/members/{member.pk}"})


class MemberView(ApiView):
    tag = "Administration"
    routes = {
        "GET": Route("member.read", "Show a member", {200: MemberOut}),
        "PATCH": Route("member.update", "Change a member's role", {200: MemberOut}, body=MemberUpdate),
        "DELETE": Route("member.remove", "Remove a member", {204: None}),
    }

    def get(self, request, member):
        """A member by id or user name."""
        return self.answer(selectors.member_find(self.project, member))

    def patch(self, request, member):
        """Takes effect within seconds, also for tokens that are in use."""
        found = selectors.member_find(self.project, member)
        role = self.values.get("role", found.role)
        return self.answer(
            members.member_change_role(membership=found, role=role, changed_by=self.actor.name)
        )

    def delete(self, request, member):
        """The user stays; the project keeps at least one administrator."""
        found = selectors.member_find(self.project, member)
        members.member_remove(membership=found, removed_by=self.actor.name)
        return Response(status=204)


class ApiKeyOut(serializers.Serializer):
    """An API key without its text."""

    id = serializers.CharField()
    name = serializers.CharField()
    role = serializers.ChoiceField(choices=Role.choices)
    prefix = serializers.CharField(help_text="The first characters, to recognise it by.")
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="To the minute.")
    revoked_at = serializers.DateTimeField(allow_null=True)


class ApiKeyCreated(ApiKeyOut):
    """A new API key; its text is told this once."""

    key = serializers.CharField()


class ApiKeyCreate(StrictSerializer):
    """A new API key."""

    name = serializers.CharField(max_length=100)
    role = serializers.ChoiceField(choices=Role.choices)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)


class ApiKeyQuery(ListQuery):
    """Query of the list of keys."""

    sorts = BY_NAME
    role = serializers.ChoiceField(choices=Role.choices, required=False)
    revoked = serializers.ChoiceField(
        choices=["true", "false"], required=False, help_text="Only those revoked, or only those not."
    )


class ApiKeysView(ApiView):
    tag = "Administration"
    routes = {
        "GET": list_route("api_key.read", "List API keys", ApiKeyOut, ApiKeyQuery),
        "POST": Route("api_key.create", "Create an API key", {201: ApiKeyCreated}, body=ApiKeyCreate),
    }

    def get(self, request):
        """The project's keys; their texts are never shown again."""
        rows = selectors.api_keys(self.project)
        if "role" in self.params:
            rows = rows.filter(role=self.params["role"])
        if "revoked" in self.params:
            rows = rows.filter(revoked_at__isnull=self.params["revoked"] == "false")
        return self.answer_page(rows)

    def post(self, request):
        """The answer holds the key's text, this once."""
        key, text = api_key_create(project=self.project, created_by=self.actor.name, **self.values)
        key.key = text
        headers = {"Location": f"/api/v1/api-keys/{key.pk}", "Cache-Control": "no-store"}
        return self.answer(key, status=201, headers=headers)


class ApiKeyView(ApiView):
    tag = "Administration"
    routes = {
        "GET": Route("api_key.read", "Show an API key", {200: ApiKeyOut}),
        "DELETE": Route("api_key.revoke", "Revoke an API key", {204: None}),
    }

    def get(self, request, api_key):
        """A key by id, or by the name of one in use."""
        return self.answer(selectors.api_key_find(self.project, api_key))

    def delete(self, request, api_key):
        """Stops working within seconds; doing it again changes nothing."""
        api_key_revoke(key=selectors.api_key_find(self.project, api_key), revoked_by=self.actor.name)
        return Response(status=204)


class AuditOut(serializers.Serializer):
    """Who did what."""

    sequence = serializers.IntegerField()
    at = serializers.DateTimeField()
    actor = serializers.CharField(help_text="user:NAME, key:NAME or system")
    action = serializers.CharField()
    subject = serializers.CharField()
    detail = JsonObject()
    request_id = serializers.CharField()
    hash = serializers.CharField(help_text="SHA-256 that covers this entry and the hash before it.")
    previous_hash = serializers.CharField()


class AuditQuery(ListQuery):
    """Query of the audit log."""

    sorts = {"-at": "-pk", "at": "pk"}
    actor = serializers.CharField(required=False, max_length=200)
    action = serializers.CharField(required=False, max_length=100)
    subject = serializers.CharField(required=False, max_length=200)
    since = serializers.DateTimeField(required=False, help_text="From this time on.")
    until = serializers.DateTimeField(required=False, help_text="Before this time.")


class AuditView(ApiView):
    tag = "Administration"
    routes = {"GET": list_route("audit.read", "Read the audit log", AuditOut, AuditQuery)}

    def get(self, request):
        """Newest first. Entries are never changed; each carries the hash of the one before it."""
        wanted = Q(project=self.project)
        for name in ("actor", "action", "subject"):
            if name in self.params:
                wanted &= Q(**{name: self.params[name]})
        if "since" in self.params:
            wanted &= Q(at__gte=self.params["since"])
        if "until" in self.params:
            wanted &= Q(at__lt=self.params["until"])
        return self.answer_page(AuditEntry.objects.filter(wanted))
