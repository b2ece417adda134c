"""Addresses of the control plane's own resources, below /api/v1/."""

from django.urls import path

from controlplane.api import accounts

urlpatterns = [
    path("tokens", accounts.TokensView.as_view()),
    path("projects", accounts.ProjectsView.as_view()),
    path("projects/<str:project>", accounts.ProjectView.as_view()),
    path("members", accounts.MembersView.as_view()),
    path("members/<str:member>", accounts.MemberView.as_view()),
    path("api-keys", accounts.ApiKeysView.as_view()),
    path("api-keys/<str:api_key>", accounts.ApiKeyView.as_view()),
    path("audit", accounts.AuditView.as_view()),
]
