"""Load in alternation: each contender has as many processes as connections, all kept, of which one
contender's run at a time, for a short slice, turn about. What disturbs the machine disturbs all alike.
"""

import contextlib
import multiprocessing
import os
import signal
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.speed import machine

SLICE_LEAST = 20


@dataclass
class Measured:
    """What one contender did: the rate of each slice (1/s), all times (s), and the CPU that took (s)."""

    rates: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    def percentile(self, share: float) -> float:
        """Milliseconds that this share of requests took at most."""
        return percentile(self.times, share) * 1000

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of CPU that one request took, of all who had a part in it."""
        return self.cpu_seconds * 1000 / len(self.times)


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


class Group:
    """The processes of one contender. `make(number)` is run in each and gives ask(n), one request."""

    def __init__(self, make, connections: int):
        context = multiprocessing.get_context("fork")
        self.pipes, self.processes = [], []
        for number in range(connections):
            here, there = context.Pipe()
            process = context.Process(target=_work, args=(make, number, there, here), daemon=True)
            process.start()
            there.close()
            self.pipes.append(here)
            self.processes.append(process)
        for pipe in self.pipes:
            self._received(pipe)

    @staticmethod
    def _received(pipe):
        kind, value = pipe.recv()
        if kind == "error":
            raise RuntimeError(value)
        return value

    def run(self, seconds: float) -> tuple[float, list[float]]:
        """(requests/s, times) of a slice; a request that began within it counts, with its whole time."""
        # All start at one moment, a little ahead, so that none begins while others are still told.
        start = time.monotonic() + 0.005
        for pipe in self.pipes:
            pipe.send((start, seconds))
        found = [self._received(pipe) for pipe in self.pipes]
        times = [one for part in found for one in part[0]]
        return sum(len(part[0]) / part[1] for part in found), times

    def close(self) -> None:
        for pipe in self.pipes:
            with contextlib.suppress(OSError):
                pipe.send(None)
            pipe.close()
        for process in self.processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()


def _work(make, number, pipe, other) -> None:
    other.close()
    machine.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    clock = time.perf_counter
    try:
        ask, at = make(number), number * 7919
        # Statements prepared, caches filled, connections made on the other side.
        for _ in range(SLICE_LEAST):
            ask(at)
            at += 1
        pipe.send(("ready", None))
        while (told := pipe.recv()) is not None:
            start, seconds = told
            time.sleep(max(start - time.monotonic(), 0))
            times, now = [], clock()
            begun, end = now, now + seconds
            while now < end:
                ask(at)
                at += 1
                done = clock()
                times.append(done - now)
                now = done
            pipe.send(("done", (times, now - begun)))
    except (EOFError, KeyboardInterrupt):
        pass
    except BaseException as error:
        with contextlib.suppress(OSError):
            pipe.send(("error", f"{type(error).__name__}: {error}"))
    os._exit(0)


def alternate(
    contenders: dict, connections: int, *, rounds: int, seconds: float, servers=None
) -> dict[str, Measured]:
    """What each contender did in so many rounds of slices; `contenders` are makers by name.

    The order is turned round every other round, so that none always comes after the same one. `servers` gives
    for a name the processes whose CPU is used on its behalf, besides those that ask.
    """
    groups: dict[str, Group] = {}
    found = {name: Measured() for name in contenders}
    try:
        for name, make in contenders.items():
            groups[name] = Group(make, connections)
        for number in range(rounds):
            for name in list(groups) if number % 2 == 0 else reversed(groups):
                group = groups[name]
                own = [process.pid for process in group.processes]
                before = cpu_of(own + (servers(name) if servers else []))
                rate, times = group.run(seconds)
                after = cpu_of(own + (servers(name) if servers else []))
                found[name].rates.append(rate)
                found[name].times += times
                found[name].cpu_seconds += sum(used - before.get(pid, 0.0) for pid, used in after.items())
    finally:
        for group in groups.values():
            group.close()
    return found


def cpu_of(pids: list[int]) -> dict[int, float]:
    """Seconds of CPU each process has used, all its living threads."""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            used = 0
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(OSError, ValueError):
                    used += int((task / "schedstat").read_text().split()[0])
            found[pid] = used / 1e9
    return found


def ratio(ours: Measured, base: Measured) -> tuple[float, float, float]:
    """The median of the slices' ratios of rates, and the lower and upper quarter."""
    ratios = sorted(a / b for a, b in zip(ours.rates, base.rates, strict=True))
    return statistics.median(ratios), percentile(ratios, 0.25), percentile(ratios, 0.75)
