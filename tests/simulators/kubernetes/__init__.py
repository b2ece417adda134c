"""A Kubernetes cluster on 127.0.0.1: the API server's HTTP API, its controllers, and pods by script.

It speaks to the official client and to kubectl. `Cluster` is the way in; `behaviours` script the pods.
"""

from tests.simulators.kubernetes.behaviours import (
    Behaviour,
    PodRequest,
    Served,
    completes,
    crash_loop,
    evicted,
    out_of_memory,
    process,
    pull_error,
    ready,
    unready,
    unschedulable,
)
from tests.simulators.kubernetes.cluster import Cluster

__all__ = [
    "Behaviour",
    "Cluster",
    "PodRequest",
    "Served",
    "completes",
    "crash_loop",
    "evicted",
    "out_of_memory",
    "process",
    "pull_error",
    "ready",
    "unready",
    "unschedulable",
]
