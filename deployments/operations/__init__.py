"""The handlers of every operation on a target; importing this package registers them."""

from deployments.operations import collection_job, destroy, fleet, heal, provision, restart, rollout, scale

__all__ = ["collection_job", "destroy", "fleet", "heal", "provision", "restart", "rollout", "scale"]
