"""recommendations.find: look for ways to pay less."""

from costs.recommendations import recommendations_find
from worker.handlers import OperationHandler, operation
from worker.outcomes import Done, Outcome


@operation("recommendations.find", first="find", label="Search for savings", deadline_seconds=1800)
class FindRecommendations(OperationHandler):
    # A month of records of a large bill is read once.
    lease_seconds = 300

    def find(self) -> Outcome:
        result = recommendations_find(project=self.operation.project)
        failed = f"; no answer of {', '.join(result['sources_failed'])}" if result["sources_failed"] else ""
        return Done(result, f"{result['found']} found, {result['new']} of them new{failed}")
