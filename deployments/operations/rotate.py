"""target.rotate: a new key for JWTs, with both accepted while replicas and callers change over.

First every replica learns to accept the new key beside the old one, then callers sign with the new one, then
every replica forgets the old one. At no moment is a request signed with a key that a replica does not know.
"""

import secrets

from django.conf import settings

from deployments.models import Replica
from deployments.operations.replicas import Moving, Stuck, counted
from deployments.operations.rolling import RollingOperation
from deployments.operations.sets import replica_set
from worker.engine import database_now
from worker.handlers import operation
from worker.outcomes import Done, Next, Outcome, Wait

KEY, OTHER = "jwt_secret", "jwt_secret_previous"
# After this nothing that was signed with the old key is on its way any more.
SETTLE_SECONDS = 3.0


@operation("target.rotate", first="begin", label="Rotate secrets")
class RotateSecrets(RollingOperation):
    def is_wanted(self, replica: Replica) -> bool:
        return self.made(replica) and super().is_wanted(replica)

    @property
    def first_move(self):
        return self.generate

    def generate(self) -> Outcome:
        if OTHER not in self.target.secrets:
            with self.atomic():
                known = dict(self.target.secrets)
                self.update_target(secrets=known | {OTHER: secrets.token_urlsafe(48)})
        return Next(self.roll, "A new key is generated and kept encrypted")

    def finish(self) -> Outcome:
        """Every replica accepts both keys: from here on the new one signs."""
        if not self.state.get("switched"):
            known = dict(self.target.secrets)
            with self.atomic():
                self.update_target(secrets=known | {KEY: known[OTHER], OTHER: known[KEY]})
                self.remember(switched=True, first=self.state.get("made", []))
        return Next(self.settle, "Both keys are accepted; the new one signs")

    def settle(self) -> Outcome:
        waited = (database_now() - self.operation.step_started_at).total_seconds()
        if waited < settings.GATEWAY_REFRESH_SECONDS + SETTLE_SECONDS:
            return Wait(1, "requests signed with the old key to end")
        return Next(self.forget_old)

    def forget_old(self) -> Outcome:
        if OTHER in self.target.secrets:
            with self.atomic():
                known = dict(self.target.secrets)
                del known[OTHER]
                self.update_target(secrets=known)
        return Next(self.roll_again, "The old key is forgotten")

    def roll_again(self) -> Outcome:
        first = set(self.state.get("first", []))
        standing = replica_set(
            self,
            release=self.release,
            count=self.count,
            is_wanted=lambda replica: self.is_wanted(replica) and replica.pk not in first,
            phase="roll_again",
        ).move()
        if isinstance(standing, Moving):
            return Wait(standing.seconds, standing.waiting_for, standing.percent)
        if isinstance(standing, Stuck):
            self.state["failure"] = standing.reason
            return Next(self.take_back, f"Going back: {standing.reason}")
        return Next(self.end)

    def end(self) -> Outcome:
        with self.atomic():
            self.serves_again()
        return Done(
            {"replicas": self.count}, f"{counted(self.count, 'replica')} accept the new key, and no other"
        )

    def take_back(self) -> Outcome:
        """Before the new key signed anything it is forgotten again; after that, both keep being accepted."""
        if not self.state.get("switched") and OTHER in self.target.secrets:
            with self.atomic():
                known = dict(self.target.secrets)
                del known[OTHER]
                self.update_target(secrets=known)
        return super().take_back()

    def cancel(self) -> Outcome:
        if self.state.get("switched"):
            self.report("The new key signs already; the rotation goes on.")
            return Next(self.settle)
        return super().cancel()
