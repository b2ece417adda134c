"""REST: a target's objects for a Git repository."""

from rest_framework import serializers

from controlplane.api.serializers import StrictSerializer
from controlplane.api.views import ApiView, Route
from deployments import gitops, selectors
from deployments.api.serializers import TargetReference


class ManifestsQuery(StrictSerializer):
    """In which form, and for Argo CD where the files will lie."""

    format = serializers.ChoiceField(choices=[(one, one) for one in gitops.FORMATS], default=gitops.KUSTOMIZE)
    repository = serializers.CharField(
        max_length=500, default=gitops.Repository.url, help_text="URL of the Git repository."
    )
    path = serializers.CharField(
        max_length=500, required=False, default="", help_text="In it; the target's name when left out."
    )
    revision = serializers.CharField(
        max_length=200, default=gitops.Repository.revision, help_text="Branch, tag or commit."
    )


class ManifestsOut(serializers.Serializer):
    """A directory for Git; it holds no secret."""

    target = TargetReference()
    format = serializers.CharField()
    files = serializers.DictField(child=serializers.CharField(), help_text="{path: text}")


class ManifestsView(ApiView):
    tag = "Targets"
    routes = {
        "GET": Route("target.read", "Export a target's manifests", {200: ManifestsOut}, query=ManifestsQuery)
    }

    def get(self, request, target):
        """As a kustomize directory, or with an Argo CD Application of it: the objects that would be applied.

        409 `not_a_cluster` for a target that runs in none.
        """
        found = selectors.target_find(self.project, target)
        where = gitops.Repository(self.params["repository"], self.params["path"], self.params["revision"])
        files = gitops.target_export(found, self.params["format"], where)
        return self.answer({"target": found, "format": self.params["format"], "files": files})
