"""Moments in the life of a step, for tracing and for tests that end the process right there.

Each is sent with `operation_id`, `kind`, `step`, `attempt`, in the worker's process.
"""

from django.dispatch import Signal

step_leased = Signal()
step_ran = Signal()
step_committed = Signal()
