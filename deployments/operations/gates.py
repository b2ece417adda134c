"""What a canary's gates say of what was measured. Nothing here reads or writes anything."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from deployments.metrics import percentile_ms
from deployments.models import Verdict

PASSED, FAILED, INCONCLUSIVE = Verdict.PASSED.value, Verdict.FAILED.value, Verdict.INCONCLUSIVE.value
# So long a replica may be unready before the gate calls it that: a probe may be lost.
UNREADY_SECONDS = 10.0


@dataclass(frozen=True)
class Counted:
    """What the replicas of one release answered in a span; `buckets` are those of a MetricPoint."""

    requests: int = 0
    errors: int = 0
    buckets: Sequence[int] = ()

    def since(self, before: "Counted") -> "Counted":
        """What was counted after `before`."""
        older = [*before.buckets, *[0] * (len(self.buckets) - len(before.buckets))]
        return Counted(
            max(0, self.requests - before.requests),
            max(0, self.errors - before.errors),
            [max(0, now - then) for now, then in zip(self.buckets, older, strict=False)],
        )

    @property
    def p95_ms(self) -> float | None:
        return percentile_ms(self.buckets, 0.95)


@dataclass(frozen=True)
class Standing:
    """How the canary's replicas are: how many of how many are ready, and what is wrong with one."""

    ready: int
    wanted: int
    trouble: str = ""
    unready_seconds: float = 0.0


@dataclass(frozen=True)
class Recalls:
    """Recall against exact search, of the canary's answers and of the stable release's to the same queries.

    `overlap` is the share of their answers that they have in common; `why` tells why there are no figures.
    """

    canary: float | None = None
    stable: float | None = None
    overlap: float | None = None
    queries: int = 0
    collections: Sequence[str] = ()
    why: str = ""


@dataclass(frozen=True)
class Reading:
    """One gate at one moment; `text` tells it in words, with every figure."""

    gate: str
    verdict: str
    value: float | None
    limit: float | None
    text: str
    stable: float | None = None
    requests: int | None = None
    detail: dict = field(default_factory=dict)

    def as_json(self) -> dict:
        return asdict(self)


def judge(
    gates: dict, canary: Counted, stable: Counted, standing: Standing, recalls: Recalls | None
) -> tuple[str, list[Reading]]:
    """(verdict, readings): failed when one failed, inconclusive when one says nothing, passed else."""
    readings = []
    if gates.get("readiness", True):
        readings.append(_readiness(standing))
    if "error_rate" in gates:
        readings.append(_error_rate(gates, canary, stable))
    if "p95_ms" in gates:
        readings.append(_p95(gates, canary, stable))
    if "p95_ratio" in gates:
        readings.append(_p95_ratio(gates, canary, stable))
    if "recall" in gates:
        readings += _recall(gates["recall"], recalls or Recalls(why="It was not measured yet."))
    verdicts = {reading.verdict for reading in readings}
    for verdict in (FAILED, INCONCLUSIVE):
        if verdict in verdicts:
            return verdict, readings
    return PASSED, readings


def _readiness(standing: Standing) -> Reading:
    text = f"{standing.ready} of {standing.wanted} replicas of the new release are ready"
    verdict = PASSED
    if standing.trouble:
        verdict, text = FAILED, f"{text}: {standing.trouble}"
    elif standing.ready < standing.wanted:
        verdict = FAILED if standing.unready_seconds > UNREADY_SECONDS else INCONCLUSIVE
        text = f"{text}, since {standing.unready_seconds:.0f} s"
    return Reading("readiness", verdict, standing.ready, standing.wanted, f"{text}.")


def _too_few(gate: str, limit: float, least: int, canary: Counted, whose: str = "the new release"):
    return Reading(
        gate,
        INCONCLUSIVE,
        None,
        limit,
        f"Only {canary.requests:,} of the {least:,} requests of {whose} that it takes to say anything.",
        requests=canary.requests,
    )


def _error_rate(gates: dict, canary: Counted, stable: Counted) -> Reading:
    limit, least = gates["error_rate"], gates["min_requests"]
    if canary.requests < least:
        return _too_few("error_rate", limit, least, canary)
    value = canary.errors / canary.requests
    other = stable.errors / stable.requests if stable.requests else None
    text = f"{_percent(value)} of {canary.requests:,} requests failed, at most {_percent(limit)} may"
    if other is not None:
        text += f"; stable: {_percent(other)} of {stable.requests:,}"
    return Reading(
        "error_rate", _held(value <= limit), value, limit, f"{text}.", stable=other, requests=canary.requests
    )


def _p95(gates: dict, canary: Counted, stable: Counted) -> Reading:
    limit, least = gates["p95_ms"], gates["min_requests"]
    if canary.requests < least:
        return _too_few("p95_ms", limit, least, canary)
    value, other = canary.p95_ms, stable.p95_ms
    text = f"p95 is {_ms(value)} over {canary.requests:,} requests, at most {_ms(limit)} may be"
    if other is not None:
        text += f"; stable: {_ms(other)}"
    return Reading(
        "p95_ms", _held(value <= limit), value, limit, f"{text}.", stable=other, requests=canary.requests
    )


def _p95_ratio(gates: dict, canary: Counted, stable: Counted) -> Reading:
    limit, least = gates["p95_ratio"], gates["min_requests"]
    if canary.requests < least:
        return _too_few("p95_ratio", limit, least, canary)
    if stable.requests < least or not stable.p95_ms:
        return _too_few("p95_ratio", limit, least, stable, "the stable release")
    value = canary.p95_ms / stable.p95_ms
    text = (
        f"p95 is {_ms(canary.p95_ms)} over {canary.requests:,} requests, {value:.2f} times the stable"
        f" release's {_ms(stable.p95_ms)}; at most {limit:g} times may be."
    )
    return Reading(
        "p95_ratio", _held(value <= limit), value, limit, text, stable=1.0, requests=canary.requests
    )


def _recall(gate: dict, recalls: Recalls) -> list[Reading]:
    names = {"min": "recall_min", "max_drop": "recall_drop"}
    asked = [name for name in names if name in gate]
    if recalls.canary is None or ("max_drop" in asked and recalls.stable is None):
        return [Reading(names[name], INCONCLUSIVE, None, gate[name], recalls.why) for name in asked]
    over = f"over {recalls.queries} queries of {', '.join(recalls.collections)}"
    overlap = ""
    if recalls.overlap is not None:
        overlap = f"; {_percent(recalls.overlap)} of the answers are the same"
    detail = {
        "overlap": recalls.overlap,
        "queries": recalls.queries,
        "collections": list(recalls.collections),
    }
    found = []
    if "min" in gate:
        limit = gate["min"]
        text = f"Recall is {recalls.canary:.4f} {over}, at least {limit:g} must be"
        if recalls.stable is not None:
            text += f"; stable: {recalls.stable:.4f}"
        found.append(
            Reading(
                "recall_min",
                _held(recalls.canary >= limit),
                recalls.canary,
                limit,
                f"{text}{overlap}.",
                stable=recalls.stable,
                detail=detail,
            )
        )
    if "max_drop" in gate:
        limit, drop = gate["max_drop"], recalls.stable - recalls.canary
        text = (
            f"Recall is {recalls.canary:.4f} {over}, {drop:.4f} below the stable release's"
            f" {recalls.stable:.4f}; at most {limit:g} may be{overlap}."
        )
        if drop <= 0:
            text = (
                f"Recall is {recalls.canary:.4f} {over}, not below the stable release's"
                f" {recalls.stable:.4f}{overlap}."
            )
        held = _held(drop <= limit + 1e-9)
        found.append(
            Reading("recall_drop", held, max(drop, 0.0), limit, text, stable=recalls.stable, detail=detail)
        )
    return found


def _held(is_kept: bool) -> str:
    return PASSED if is_kept else FAILED


def _percent(share: float) -> str:
    return f"{share * 100:.4g} %"


def _ms(value: float) -> str:
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"
