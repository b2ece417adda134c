"""The handlers of every operation on a target; importing this package registers them."""

from deployments.operations import destroy, heal, provision, restart, rollout, scale

__all__ = ["destroy", "heal", "provision", "restart", "rollout", "scale"]
