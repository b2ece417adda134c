"""The runtime `processes`: replicas as processes of this machine."""

from deployments.runtimes.processes.runtime import ProcessRuntime, stop_all

__all__ = ["ProcessRuntime", "stop_all"]
