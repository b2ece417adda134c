"""The runtime `kubernetes`: replicas as pods of a cluster that keeps them itself."""

from deployments.runtimes.kubernetes.runtime import KubernetesRuntime

__all__ = ["KubernetesRuntime"]
