"""The call for a picture of a collection."""

from controlplane.errors import InvalidError
from vectors import collections, projection
from vectors.calls.base import VIEWER, Request, Response, Route, no_nul
from vectors.points import NAMESPACE_MOST


def collections_projection(request: Request, name: str) -> Response:
    parameters = request.parameters("sample", "namespace", "color", "seed")
    namespace, color = parameters.get("namespace"), parameters.get("color", "")
    for field, text in (("namespace", namespace or ""), ("color", color)):
        no_nul(text, field)
    if len(namespace or "") > NAMESPACE_MOST:
        raise InvalidError(f"A namespace has up to {NAMESPACE_MOST} characters.", field="namespace")
    sample = projection.sample_of(parameters.get("sample"))
    seed = projection.seed_of(parameters.get("seed"))

    def work(collection):
        return projection.projection(collection, sample=sample, namespace=namespace, color=color, seed=seed)

    return Response(200, collections.working_on(name, work))


ROUTES = {("collections", "{}", "projection"): {"GET": Route("projection", VIEWER, collections_projection)}}
