"""Which role each action needs: the one table that the REST API, the gateway and the dashboard ask."""

from controlplane.errors import ForbiddenError
from controlplane.models import Role

VIEWER, OPERATOR, ADMIN = Role.VIEWER, Role.OPERATOR, Role.ADMIN

ROLE_FOR: dict[str, Role] = {
    "project.read": VIEWER,
    "member.read": VIEWER,
    "member.add": ADMIN,
    "member.update": ADMIN,
    "member.remove": ADMIN,
    "api_key.read": VIEWER,
    "api_key.create": ADMIN,
    "api_key.revoke": ADMIN,
    "audit.read": VIEWER,
    "operation.read": VIEWER,
    "operation.cancel": OPERATOR,
    "operation.retry": OPERATOR,
    "provider.read": VIEWER,
    "account.read": VIEWER,
    "account.create": ADMIN,
    "account.update": ADMIN,
    "account.delete": ADMIN,
    "account.check": OPERATOR,
    "target.read": VIEWER,
    "target.create": OPERATOR,
    "target.update": OPERATOR,
    "target.protect": ADMIN,
    "target.destroy": ADMIN,
    "target.scale": OPERATOR,
    "target.restart": OPERATOR,
    "target.rotate": OPERATOR,
    "target.rollback": OPERATOR,
    "collection.job.start": OPERATOR,
    "drift.read": VIEWER,
    "drift.decide": OPERATOR,
    "backup.read": VIEWER,
    "backup.create": OPERATOR,
    "backup.delete": ADMIN,
    "backup.schedule": OPERATOR,
    "target.restore": OPERATOR,
    "target.restore_in_place": ADMIN,
    "fleet.read": VIEWER,
    "fleet.create": OPERATOR,
    "fleet.update": OPERATOR,
    "fleet.delete": OPERATOR,
    "plan.read": VIEWER,
    "plan.create": OPERATOR,
    "plan.apply": OPERATOR,
    "release.read": VIEWER,
    "release.create": OPERATOR,
    "rollout.read": VIEWER,
    "rollout.create": OPERATOR,
    "rollout.control": OPERATOR,
    "cost.read": VIEWER,
    "cost.import": OPERATOR,
    "cost.source.manage": ADMIN,
    "cost.source.sync": OPERATOR,
    "cost.rate.manage": OPERATOR,
    "cost.price.sync": OPERATOR,
    "cost.price.give": OPERATOR,
    "cost.estimate.make": OPERATOR,
    "cost.budget.manage": OPERATOR,
    "cost.channel.read": OPERATOR,
    "cost.channel.manage": ADMIN,
    "cost.channel.test": OPERATOR,
    "cost.recommendation.search": OPERATOR,
    "cost.recommendation.decide": OPERATOR,
}


def may(role: str, action: str) -> bool:
    """Whether a role may do an action; KeyError for an action that is not in the table."""
    return Role(role).includes(ROLE_FOR[action])


def require(role: str, action: str) -> None:
    """ForbiddenError unless the role may do the action."""
    if not may(role, action):
        raise ForbiddenError(
            f"This needs the role {ROLE_FOR[action].value}; yours is {Role(role).value}.",
            required_role=ROLE_FOR[action].value,
        )
