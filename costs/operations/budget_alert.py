"""budget.alert: one alert handed to one channel, tried for a day.

A receiver may have taken what a killed worker sent without noting it: every try carries the same id, by which
receivers drop repeats (X-Aindus-Delivery, Message-ID).
"""

from functools import cached_property

from django.conf import settings

from costs.alert_delivery import DeliveryError, post, send_mail
from costs.alert_messages import Message, budget_message, check_message, slack_body, webhook_body
from costs.models_planning import AlertChannel, BudgetAlert, ChannelKind
from worker.handlers import OperationHandler, operation
from worker.outcomes import Done, Fail, Outcome, Wait

# How long after each failed try the next one comes: a receiver that is away for a day still gets it.
PAUSES_SECONDS = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 21_600, 36_000)


@operation("budget.alert", first="deliver", label="Alert", deadline_seconds=2 * 24 * 3600)
class DeliverAlert(OperationHandler):
    @classmethod
    def title(cls, operation) -> str:
        return "Alert of a budget" if "alert" in operation.input else "Test of an alert channel"

    @cached_property
    def channel(self) -> AlertChannel | None:
        return AlertChannel.objects.filter(pk=self.input["channel"]).first()

    @cached_property
    def message(self) -> Message | None:
        if "alert" not in self.input:
            return check_message(self.channel, self.operation.pk)
        rows = BudgetAlert.objects.select_related("budget", "budget__project", "budget__target")
        alert = rows.filter(pk=self.input["alert"]).first()
        return budget_message(alert, settings.PUBLIC_URL) if alert else None

    def deliver(self) -> Outcome:
        if self.channel is None or self.message is None:
            return Fail("The channel or the budget was deleted meanwhile.", code="gone")
        tries = self.state.get("tries", 0) + 1
        try:
            answer = self._send()
        except DeliveryError as error:
            if error.permanent or tries > len(PAUSES_SECONDS):
                return Fail(
                    str(error), code="not_delivered", remedy=error.remedy or "Retry the operation later."
                )
            self.state["tries"] = tries
            self.report(f"Try {tries} failed: {error}")
            return Wait(PAUSES_SECONDS[tries - 1], f"another try: {error}")
        return Done({"delivery": self.message.id, "tries": tries}, answer)

    def _send(self) -> str:
        channel, message = self.channel, self.message
        if channel.kind == ChannelKind.EMAIL:
            return send_mail(channel.recipients, message)
        secrets = channel.secrets
        if channel.kind == ChannelKind.SLACK:
            return post(secrets["url"], slack_body(message), delivery=message.id)
        return post(
            secrets["url"], webhook_body(message), delivery=message.id, signing_key=secrets["signing_key"]
        )
