"""REST: releases, rollouts, and the other operations of a target."""

from controlplane.api.views import ApiView, Route, list_route
from controlplane.errors import InvalidError, NotFoundError
from deployments import selectors, services
from deployments.api import serializers as shapes
from worker.api.answers import accepted
from worker.api.serializers import OperationOut


def release_named(project, values: dict):
    """The release that a body names, or None; InvalidError when there is none of that name."""
    if "release" not in values:
        return None
    try:
        return selectors.release_find(project, values["release"])
    except NotFoundError as error:
        raise InvalidError(error.detail, field="release", code="not_found") from None


class ReleasesView(ApiView):
    tag = "Releases"
    routes = {
        "GET": list_route("release.read", "List releases", shapes.ReleaseOut, shapes.ReleaseQuery),
        "POST": Route(
            "release.create", "Create a release", {201: shapes.ReleaseOut}, body=shapes.ReleaseCreate
        ),
    }

    def get(self, request):
        """Newest first."""
        rows = selectors.releases(self.project)
        if "image" in self.params:
            rows = rows.filter(image=self.params["image"])
        return self.answer_page(rows)

    def post(self, request):
        """The same image and config give the release that exists already."""
        release = services.release_create(project=self.project, created_by=self.actor.name, **self.values)
        return self.answer(release, status=201, headers={"Location": f"/api/v1/releases/{release}"})


class ReleaseView(ApiView):
    tag = "Releases"
    routes = {"GET": Route("release.read", "Show a release", {200: shapes.ReleaseOut})}

    def get(self, request, release):
        """A release by `v3` or id."""
        return self.answer(selectors.release_find(self.project, release))


class TargetRolloutsView(ApiView):
    tag = "Rollouts"
    routes = {
        "GET": list_route("rollout.read", "List a target's rollouts", shapes.RolloutOut, shapes.RolloutQuery),
        "POST": Route("rollout.create", "Roll out a release", {202: OperationOut}, body=shapes.RolloutCreate),
    }

    def get(self, request, target):
        """Newest first."""
        rows = selectors.rollouts(self.project).filter(target=selectors.target_find(self.project, target))
        if "status" in self.params:
            rows = rows.filter(status__in=self.params["status"])
        return self.answer_page(rows)

    def post(self, request, target):
        """Replicas are replaced one by one; when new ones do not become ready it goes back by itself.

        `input.rollout` of the operation is the rollout's id.
        """
        values = dict(self.values)
        found = selectors.target_find(self.project, target)
        release = release_named(self.project, values)
        values.pop("release", None)
        _, operation = services.rollout_start(
            target=found, release=release, requested_by=self.actor.name, **values
        )
        return accepted(self, operation)


class RolloutView(ApiView):
    tag = "Rollouts"
    routes = {"GET": Route("rollout.read", "Show a rollout", {200: shapes.RolloutOut})}

    def get(self, request, rollout):
        """A rollout by id."""
        return self.answer(selectors.rollout_find(self.project, rollout))


class RolloutAbortView(ApiView):
    tag = "Rollouts"
    routes = {"POST": Route("rollout.control", "Abort a rollout", {202: OperationOut})}

    def post(self, request, rollout):
        """Goes back to what served before."""
        found = selectors.rollout_find(self.project, rollout)
        return accepted(self, services.rollout_abort(rollout=found, requested_by=self.actor.name))


class RolloutControlView(ApiView):
    """One step of a canary, named by `verb`."""

    tag = "Rollouts"
    verb = ""

    def post(self, request, rollout):
        """A step of a canary; 409 for a rolling rollout, which has none."""
        found = selectors.rollout_find(self.project, rollout)
        services.rollout_control(rollout=found, verb=self.verb)


def _control(verb: str) -> type[RolloutControlView]:
    route = Route("rollout.control", f"{verb.capitalize()} a rollout", {202: OperationOut})
    return type(
        f"Rollout{verb.capitalize()}View", (RolloutControlView,), {"verb": verb, "routes": {"POST": route}}
    )


RolloutPromoteView, RolloutPauseView, RolloutResumeView = map(_control, ("promote", "pause", "resume"))


class RollbackView(ApiView):
    tag = "Rollouts"
    routes = {
        "POST": Route(
            "target.rollback", "Roll back a target", {202: OperationOut}, body=shapes.RollbackCreate
        )
    }

    def post(self, request, target):
        """To a release that served before, the last other one when none is named."""
        found = selectors.target_find(self.project, target)
        release = release_named(self.project, self.values)
        _, operation = services.rollback_start(target=found, release=release, requested_by=self.actor.name)
        return accepted(self, operation)


class ScaleView(ApiView):
    tag = "Targets"
    routes = {"POST": Route("target.scale", "Scale a target", {202: OperationOut}, body=shapes.ScaleCreate)}

    def post(self, request, target):
        """Runs this many replicas."""
        found = selectors.target_find(self.project, target)
        return accepted(
            self, services.target_scale(target=found, requested_by=self.actor.name, **self.values)
        )


class RestartView(ApiView):
    tag = "Targets"
    routes = {"POST": Route("target.restart", "Restart a target", {202: OperationOut})}

    def post(self, request, target):
        """Replaces every replica by a fresh one, one at a time."""
        found = selectors.target_find(self.project, target)
        return accepted(self, services.target_restart(target=found, requested_by=self.actor.name))
