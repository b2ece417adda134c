"""Addresses of the pages that know no target."""

from django.urls import path

from controlplane.pages import members, session, settings

urlpatterns = [
    path("sign-in/", session.SignIn.as_view(), name="sign-in"),
    path("sign-out/", session.sign_out, name="sign-out"),
    path("project/", session.project_choose, name="project-choose"),
    path("settings/", settings.index, name="settings"),
    path("settings/appearance/", settings.appearance, name="appearance"),
    path("settings/password/", settings.password, name="password"),
    path("settings/audit/", settings.audit_log, name="audit"),
    path("settings/api-keys/", settings.api_keys, name="api-keys"),
    path("settings/api-keys/<str:key_id>/revoke/", settings.api_key_revoke_page, name="api-key-revoke"),
    path("settings/members/", members.index, name="members"),
    path("settings/members/new/", members.add, name="member-add"),
    path("settings/members/<str:member_id>/", members.change, name="member-change"),
    path("settings/members/<str:member_id>/remove/", members.remove, name="member-remove"),
]
