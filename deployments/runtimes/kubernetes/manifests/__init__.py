"""Builders of every object we apply: functions of a `Place` and a `Workload`, without clock or chance."""
