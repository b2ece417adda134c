"""All objects of a target, in the order they are applied."""

from deployments.runtimes.kubernetes.kinds import kind_of
from deployments.runtimes.kubernetes.manifests import api, postgres, redis, routing, security
from deployments.runtimes.kubernetes.manifests.migration import migration_job
from deployments.runtimes.kubernetes.manifests.monitoring import monitoring
from deployments.runtimes.kubernetes.manifests.place import Place, manifest
from deployments.runtimes.workload import CANARY, STABLE, Manifest, Revision, Workload


def place_of(workload: Workload) -> Place:
    """Where a workload's objects live."""
    return Place(workload.owner, workload.target_name, workload.spec, workload.secrets)


def _ordered(documents: list[dict]) -> tuple[Manifest, ...]:
    def order(document: dict) -> tuple:
        return kind_of(document).order, document["kind"], document["metadata"]["name"]

    return tuple(manifest(document) for document in sorted(documents, key=order))


def _grounds(place: Place) -> list[dict]:
    """What everything of a target needs first."""
    documents = [security.namespace(place)] if place.spec.get("create_namespace", True) else []
    if place.part("network_policy").get("enabled", True):
        documents.append(security.deny_by_default(place))
    return documents


def _without_policies(place: Place, documents: list[dict]) -> list[dict]:
    if place.part("network_policy").get("enabled", True):
        return documents
    return [one for one in documents if one["kind"] != "NetworkPolicy"]


def infrastructure(place: Place) -> tuple[Manifest, ...]:
    """What a target stands on in an existing cluster: namespace, database, Redis."""
    documents = [*_grounds(place), *postgres.postgres(place), *redis.redis(place)]
    return _ordered(_without_policies(place, documents))


def grounds(workload: Workload) -> tuple[Manifest, ...]:
    """What any pod of the workload needs: identity, secrets, configuration, network policies."""
    place = place_of(workload)
    documents = [
        *_grounds(place),
        security.service_account(place, api.annotations_of(place)),
        api.secret(place),
        api.config(place, workload.region, workload.provider),
        *security.api_policies(place),
    ]
    return _ordered(_without_policies(place, documents))


def migration(workload: Workload, revision: Revision) -> Manifest:
    """The job that migrates to a revision's schema."""
    return manifest(migration_job(place_of(workload), revision))


def routes(workload: Workload) -> tuple[Manifest, ...]:
    """What carries the weights alone."""
    place = place_of(workload)
    documents = routing.routing(place, workload.revisions)
    return _ordered([one for one in documents if one["kind"] in (*routing.ROUTES, "DestinationRule")])


def is_autoscaled(workload: Workload, revision: Revision) -> bool:
    """The stable revision is, unless the numbers of pods split the traffic between two."""
    place = place_of(workload)
    if revision.role != STABLE or not place.part("autoscaling").get("enabled", True):
        return False
    has_canary = any(one.role == CANARY for one in workload.revisions)
    return not (has_canary and routing.routing_mode(place) == routing.REPLICAS)


def whole(workload: Workload) -> tuple[Manifest, ...]:
    """Every object of the workload. Without revisions: what it stands on alone."""
    place = place_of(workload)
    documents = [dict(one.document) for one in grounds(workload)]
    if workload.revisions:
        documents += [
            api.service(place),
            api.disruption_budget(place),
            *monitoring(place),
            *routing.routing(place, workload.revisions),
        ]
    for revision in workload.revisions:
        autoscaled = is_autoscaled(workload, revision)
        documents.append(api.service(place, revision.role))
        documents.append(
            api.deployment(place, revision, autoscaled=autoscaled, restarted_at=workload.restarted_at)
        )
        if autoscaled:
            documents.append(api.autoscaler(place, revision))
    return _ordered(documents)
