"""Typed builders of every object we apply: functions of a `Place` and a `Workload`, without any clock or chance."""
