"""The handlers of every operation on a target; importing this package registers them."""

from deployments.operations import (
    backup,
    collection_job,
    destroy,
    fleet,
    heal,
    provision,
    restart,
    restore,
    revert_drift,
    rollout,
    rotate,
    scale,
)

__all__ = [
    "backup",
    "collection_job",
    "destroy",
    "fleet",
    "heal",
    "provision",
    "restart",
    "restore",
    "revert_drift",
    "rollout",
    "rotate",
    "scale",
]
