"""Work beside a target's database that takes long: who does it, where, and how it is followed.

A task is one run of `manage.py vectors_backup` of the target's own image, in role `api`, near the database:
a process of this machine, or a job of a cluster. It outlives the worker that started it; its id is the
caller's, so that starting it twice is one task.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from deployments.providers.base import Secret

# What a task tells when it lost, or did not get, its connection to the database.
AWAY = "away"
RUNNING, SUCCEEDED, FAILED, ABSENT = "running", "succeeded", "failed", "absent"


@dataclass(frozen=True)
class Task:
    """What to run: a verb of `vectors_backup` at a place, on the database of `secrets["database_url"]`.

    `task_id` is lower-case letters, digits and hyphens, at most 60. `job_id` is a UUID that names what is not
    whole yet, the same for every try. `place` is an absolute path of where the task runs, or a URL.
    """

    task_id: str
    verb: str  # dump | restore | prove | delete
    place: str
    job_id: str
    region: str
    provider: str
    image: str
    config: Mapping[str, Any] = field(default_factory=dict)
    secrets: Secret = field(default_factory=lambda: Secret({}))


@dataclass(frozen=True)
class TaskState:
    """What is true of a task now.

    `again`: it died, or lost its connection, and another try makes sense. `done` and
    `total` are bytes, None when not known.
    """

    state: str  # running | succeeded | failed | absent
    phase: str = ""
    done: int | None = None
    total: int | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    again: bool = False


class TaskRunner(Protocol):
    """Starts, watches and ends tasks. `home` is where backups lie when no URL is given.

    - `start` returns at once, and does nothing when the task is known; `look` is cheap.
    - `end` stops the task and forgets it; absence is fine. `known` lists those it has anything of.
    - `free_bytes` is the room at `home`; None when it cannot be told.
    """

    home: str

    def start(self, task: Task) -> None: ...
    def look(self, task_id: str) -> TaskState: ...
    def end(self, task_id: str) -> None: ...
    def known(self) -> list[str]: ...
    def free_bytes(self) -> int | None: ...


def told(lines: list[str]) -> dict:
    """The last line of JSON that `vectors_backup` wrote, {} when there is none yet."""
    for line in reversed(lines):
        if line.startswith("{"):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict) and "state" in found:
                return found
    return {}


def state_of(told: Mapping[str, Any], *, alive: bool, reason: str = "") -> TaskState:
    """A task's state from what it told last, and whether it lives; `reason` says how it ended."""
    if told.get("state") == SUCCEEDED:
        return TaskState(SUCCEEDED, result=told.get("result") or {})
    if told.get("state") == FAILED:
        return TaskState(FAILED, error=told.get("error") or "No reason told.", again=told.get("code") == AWAY)
    if alive:
        return TaskState(
            RUNNING, phase=told.get("phase", ""), done=told.get("bytes"), total=told.get("total_bytes")
        )
    return TaskState(FAILED, error=reason or "It ended without a word.", again=True)
