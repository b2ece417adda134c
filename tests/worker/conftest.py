import threading

import pytest

from controlplane.models import Project
from worker import engine
from worker.handlers import OperationHandler, StepError, operation
from worker.models import Operation
from worker.outcomes import Done, Fail, Next, Outcome, Wait
from worker.services import operation_submit

ran: list[tuple] = []
ended: list[tuple] = []
gate = threading.Event()
entered = threading.Event()


@operation("sample.count", first="begin", label="Count", deadline_seconds=600)
class Count(OperationHandler):
    """Goes through the steps its input lists, noting each run."""

    def begin(self) -> Outcome:
        ran.append((self.operation.pk, "begin"))
        self.state["begun"] = True
        return Next(self.middle, "Begun", {"of": self.input.get("of", 1)})

    def middle(self) -> Outcome:
        ran.append((self.operation.pk, "middle"))
        self.state["turns"] = self.state.get("turns", 0) + 1
        if self.state["turns"] < self.input.get("of", 1):
            return Wait(0, waiting_for=f"turn {self.state['turns'] + 1}", percent=50)
        return Next("end")

    def end(self) -> Outcome:
        ran.append((self.operation.pk, "end"))
        return Done({"turns": self.state["turns"]}, "Counted")


@operation("sample.gated", first="hold")
class Gated(OperationHandler):
    """Its step stays inside until the test opens the gate."""

    def hold(self) -> Outcome:
        entered.set()
        assert gate.wait(20)
        return Done()


@operation("sample.error", first="go")
class Erring(OperationHandler):
    """Raises what its input says."""

    def go(self) -> Outcome:
        ran.append((self.operation.pk, "go"))
        how = self.input["how"]
        if how == "permanent":
            raise StepError("the door is shut", remedy="Open it.", code="shut", permanent=True)
        if how == "transient" and self.operation.attempt < self.input.get("until", 99):
            raise StepError("busy")
        if how == "bug":
            return 1 / 0
        if how == "nothing":
            return None
        if how == "fail":
            return Fail("no", code="no", remedy="Say yes.")
        if how == "wait":
            return Wait(3600, waiting_for="a word")
        if how == "remember":
            self.remember(token="t1")
            self.report("token stored", percent=10, token="t1")
            raise StepError("after remembering")
        return Done()

    def failed(self, failure):
        ended.append((self.operation.pk, "failed", failure.code))

    def cancelled(self):
        ended.append((self.operation.pk, "cancelled"))


@operation("sample.undo", first="work")
class Undoing(OperationHandler):
    """Has something to undo when cancelled."""

    def work(self) -> Outcome:
        return Wait(3600, waiting_for="something far off")

    def cancel(self) -> Outcome:
        return Next(self.undo, "Undoing")

    def undo(self) -> Outcome:
        from worker.outcomes import Cancelled

        ran.append((self.operation.pk, "undo", self.operation.cancelled_from_step))
        return Cancelled("Undone")


@pytest.fixture(autouse=True)
def fresh_notes():
    ran.clear()
    ended.clear()
    gate.clear()
    entered.clear()
    yield
    gate.set()


@pytest.fixture
def project(db):
    return Project.objects.create(name="engine")


@pytest.fixture
def submit(project):
    def submit(kind, subject="thing:1", **values):
        options = {name: values.pop(name) for name in ("exclusive", "idempotency_key") if name in values}
        return operation_submit(project=project, kind=kind, subject=subject, input=values, **options)

    return submit


@pytest.fixture
def due():
    """Make an operation due now, as if its backoff had passed."""

    def due(operation):
        Operation.objects.filter(pk=operation.pk).update(run_after=engine.database_now())

    return due
