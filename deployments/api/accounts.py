"""REST: accounts, the credentials that targets are made by."""

from rest_framework import serializers
from rest_framework.response import Response

from controlplane.api.pagination import ListQuery, Words
from controlplane.api.serializers import JsonObject, StrictSerializer
from controlplane.api.views import ApiView, Route, list_route
from deployments import accounts, selectors
from deployments.api.serializers import ProblemOut
from deployments.models import AccountStatus


class AccountOut(serializers.Serializer):
    """Credentials for a cluster or cloud; they themselves are never shown."""

    id = serializers.CharField()
    name = serializers.CharField()
    provider = serializers.CharField()
    details = JsonObject(help_text="What may be shown of the credentials, such as the server.")
    status = serializers.ChoiceField(choices=AccountStatus.choices, help_text="By the last check.")
    problems = ProblemOut(many=True, help_text="What the last check found.")
    checked_at = serializers.DateTimeField(allow_null=True)
    used_by = serializers.IntegerField(help_text="Targets that are made by it.")
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class AccountCreate(StrictSerializer):
    """New credentials."""

    name = serializers.CharField(max_length=50)
    provider = serializers.CharField(max_length=32)
    credentials = JsonObject(help_text="By the provider's `credentials_schema`. Write-only.")


class AccountUpdate(StrictSerializer):
    """What of an account may be changed."""

    name = serializers.CharField(max_length=50, required=False)
    credentials = JsonObject(required=False, help_text="All of them anew. Write-only.")


class AccountQuery(ListQuery):
    """Query of the list of accounts."""

    sorts = {"name": "name", "-name": "-name", "-created_at": "-pk", "created_at": "pk"}
    provider = serializers.CharField(required=False, max_length=32)
    status = Words(choices=AccountStatus.values)


class AccountsView(ApiView):
    tag = "Accounts"
    routes = {
        "GET": list_route("account.read", "List accounts", AccountOut, AccountQuery),
        "POST": Route("account.create", "Create an account", {201: AccountOut}, body=AccountCreate),
    }

    def get(self, request):
        """The project's accounts, by name."""
        rows = selectors.accounts(self.project)
        if "provider" in self.params:
            rows = rows.filter(provider=self.params["provider"])
        if "status" in self.params:
            rows = rows.filter(status__in=self.params["status"])
        return self.answer_page(rows)

    def post(self, request):
        """Keeps credentials encrypted; what is refused of them, and why, is told (422)."""
        made = accounts.account_create(project=self.project, created_by=self.actor.name, **self.values)
        found = selectors.account_find(self.project, made.pk)
        return self.answer(found, status=201, headers={"Location": f"/api/v1/accounts/{made.pk}"})


class AccountView(ApiView):
    tag = "Accounts"
    routes = {
        "GET": Route("account.read", "Show an account", {200: AccountOut}),
        "PATCH": Route("account.update", "Change an account", {200: AccountOut}, body=AccountUpdate),
        "DELETE": Route("account.delete", "Delete an account", {204: None}),
    }

    def get(self, request, account):
        """An account by name or id."""
        return self.answer(selectors.account_find(self.project, account))

    def patch(self, request, account):
        """Another name, or new credentials in place of those of before."""
        found = selectors.account_find(self.project, account)
        accounts.account_update(account=found, requested_by=self.actor.name, **self.values)
        return self.answer(selectors.account_find(self.project, found.pk))

    def delete(self, request, account):
        """409 while a target is made by it."""
        found = selectors.account_find(self.project, account)
        accounts.account_delete(account=found, requested_by=self.actor.name)
        return Response(status=204)


class AccountCheckView(ApiView):
    tag = "Accounts"
    routes = {"POST": Route("account.check", "Check an account", {200: AccountOut})}

    def post(self, request, account):
        """Uses the credentials now: whether the cluster answers, knows who asks, and is kept up."""
        found = selectors.account_find(self.project, account)
        accounts.account_check(account=found, requested_by=self.actor.name)
        return self.answer(selectors.account_find(self.project, found.pk))
