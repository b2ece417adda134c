"""REST: releases, rollouts, and the other operations of a target."""

from controlplane.api.views import ApiView, Route, list_route
from controlplane.errors import InvalidError, NotFoundError
from deployments import rollouts, selectors, services
from deployments.api import serializers as shapes
from deployments.models import Analysis
from deployments.rotating import target_rotate
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
        """`rolling` replaces replicas one by one; `canary` goes by steps of weight, each held against gates.

        When new replicas do not become ready, or a gate fails, it goes back by itself. `input.rollout` of
        the operation is the rollout's id.
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


class RolloutAnalysesView(ApiView):
    tag = "Rollouts"
    routes = {
        "GET": list_route(
            "rollout.read", "List a canary's analyses", shapes.AnalysisOut, shapes.AnalysisQuery
        )
    }

    def get(self, request, rollout):
        """Every look at the gates with its readings, newest first."""
        found = selectors.rollout_find(self.project, rollout)
        rows = Analysis.objects.filter(rollout=found)
        if "verdict" in self.params:
            rows = rows.filter(verdict__in=self.params["verdict"])
        return self.answer_page(rows)


class RolloutControlView(ApiView):
    """What people do to a rollout under way, each named by its `act`."""

    tag = "Rollouts"
    act = None

    def post(self, request, rollout):
        found = selectors.rollout_find(self.project, rollout)
        return accepted(self, self.act(rollout=found, requested_by=self.actor.name, **self.values))


class RolloutAbortView(RolloutControlView):
    routes = {"POST": Route("rollout.control", "Abort a rollout", {202: OperationOut})}
    act = staticmethod(rollouts.rollout_abort)

    def post(self, request, rollout):
        """Goes back to what served before; wins over whatever else is asked for in the same moment."""
        return super().post(request, rollout)


class RolloutPromoteView(RolloutControlView):
    routes = {
        "POST": Route("rollout.control", "Promote a rollout", {202: OperationOut}, body=shapes.RolloutPromote)
    }
    act = staticmethod(rollouts.rollout_promote)

    def post(self, request, rollout):
        """Ends a canary's present step, whatever its gates say; with `full` all that are left."""
        return super().post(request, rollout)


class RolloutPauseView(RolloutControlView):
    routes = {"POST": Route("rollout.control", "Pause a rollout", {202: OperationOut})}
    act = staticmethod(rollouts.rollout_pause)

    def post(self, request, rollout):
        """Keeps a canary at its step; a gate that fails takes it back all the same."""
        return super().post(request, rollout)


class RolloutResumeView(RolloutControlView):
    routes = {"POST": Route("rollout.control", "Resume a rollout", {202: OperationOut})}
    act = staticmethod(rollouts.rollout_resume)

    def post(self, request, rollout):
        """Lets a paused canary go on."""
        return super().post(request, rollout)


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


class RotateView(ApiView):
    tag = "Targets"
    routes = {"POST": Route("target.rotate", "Rotate a target's secrets", {202: OperationOut})}

    def post(self, request, target):
        """A new key for JWTs; both are accepted until nobody signs with the old one. No request fails."""
        found = selectors.target_find(self.project, target)
        return accepted(self, target_rotate(target=found, requested_by=self.actor.name))


class RestartView(ApiView):
    tag = "Targets"
    routes = {"POST": Route("target.restart", "Restart a target", {202: OperationOut})}

    def post(self, request, target):
        """Replaces every replica by a fresh one, one at a time."""
        found = selectors.target_find(self.project, target)
        return accepted(self, services.target_restart(target=found, requested_by=self.actor.name))
