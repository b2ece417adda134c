"""Faults that are asked for by settings, to see that what watches the vector API notices them.

A drill is switched on for a release by its environment, shown at /health and in the log, and off by
default; nothing of it is on the path of a request then.
"""

import logging
import random
import time

from controlplane.errors import ProblemError

log = logging.getLogger("vectors.drill")


class DrillError(ProblemError):
    """This failure is a drill: AINDUS_DRILL_ERROR_PERCENT is set."""

    status = 500
    code = "drill"


def described(options: dict) -> dict:
    """{name: value} of what a drill does, of VECTORS' settings; {} when there is none."""
    named = {name.removeprefix("drill_"): options[name] for name in options if name.startswith("drill_")}
    if not named["delay_ms"]:
        del named["delay_percent"]
    return {name: value for name, value in named.items() if value}


def faulty(call, options: dict):
    """`call`, delayed or failed as often as the settings say; the same call when they say nothing."""
    drilled = described(options)
    if not drilled.keys() & {"delay_ms", "error_percent"}:
        return call
    seconds, delayed = drilled.get("delay_ms", 0) / 1000, drilled.get("delay_percent", 0)
    failed = drilled.get("error_percent", 0)

    def drill(*arguments):
        if seconds and random.random() * 100 < delayed:
            time.sleep(seconds)
        if failed and random.random() * 100 < failed:
            raise DrillError()
        return call(*arguments)

    return drill


def warn(options: dict) -> None:
    """Say in the log that faults are asked for."""
    if drilled := described(options):
        log.warning("a drill is on: %s", ", ".join(f"{name}={value}" for name, value in drilled.items()))
