"""REST: long work on a target's collections."""

from controlplane.api.views import ApiView, Route
from deployments import selectors
from deployments.api import serializers as shapes
from deployments.collection_jobs import collection_job_start
from worker.api.answers import accepted
from worker.api.serializers import OperationOut


class CollectionJobsView(ApiView):
    tag = "Targets"
    routes = {
        "POST": Route(
            "collection.job.start",
            "Start a job of a collection",
            {202: OperationOut},
            body=shapes.CollectionJobCreate,
        )
    }

    def post(self, request, target):
        """Has the target build an index, import, export or measure recall, and follows it to its end.

        Cancelling the operation cancels the job. What the target refuses fails the operation with its words.
        """
        found = selectors.target_find(self.project, target)
        operation = collection_job_start(target=found, requested_by=self.actor.name, **self.values)
        return accepted(self, operation)
