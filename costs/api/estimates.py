"""REST: prices, what nodes cost, estimates."""

from decimal import Decimal

from django.utils import timezone
from rest_framework import serializers
from rest_framework.response import Response

from controlplane.api.pagination import ListQuery
from controlplane.api.serializers import Money, StrictSerializer
from controlplane.api.views import ApiView, Route, list_route
from controlplane.errors import InvalidError
from controlplane.selectors import by_id
from costs import estimates, prices_list, prices_sync, variance
from costs.models_planning import CLOUDS, Estimate, NodePrice, Price
from deployments.providers.base import provider_names
from deployments.selectors import target_find
from worker.api.answers import accepted
from worker.api.serializers import OperationOut

# Where a share of a node is priced.
NODES_OF = ("kubernetes", "local")
RESOURCE_KINDS = [
    (kind, kind)
    for kind in [
        *sorted({kind for cloud in prices_list.clouds() for kind, _ in prices_list.skus(cloud)}),
        "requests",
    ]
]


class AnyAmount(StrictSerializer):
    """An amount of money that is given."""

    amount = serializers.DecimalField(max_digits=24, decimal_places=12, min_value=Decimal(0))
    currency = serializers.RegexField(r"\A[A-Z]{3}\Z", help_text="ISO 4217 code, such as USD.")


class PriceOut(serializers.Serializer):
    """What one unit costs; synced prices stand before the built-in table's."""

    cloud = serializers.ChoiceField(choices=CLOUDS)
    region = serializers.CharField()
    kind = serializers.CharField()
    sku = serializers.CharField()
    unit = serializers.CharField(help_text="hour, gib_hour, gib_month, month, gib or million")
    price = serializers.SerializerMethodField()
    as_of = serializers.DateField(help_text="The day it holds for.", source="effective_on")
    origin = serializers.SerializerMethodField(help_text="synced, or list for the built-in table")
    source = serializers.SerializerMethodField()

    def get_price(self, price) -> Money:
        return {"amount": f"{price.amount.normalize():f}", "currency": price.currency}

    def get_origin(self, price) -> str:
        return "synced"

    def get_source(self, price) -> str:
        return f"{price.get_cloud_display()} price API, read {price.read_at:%Y-%m-%d}"


class PriceQuery(ListQuery):
    """Query of the list of prices."""

    sorts = {"sku": "sku", "-effective_on": "-effective_on"}
    cloud = serializers.ChoiceField(choices=CLOUDS, required=False)
    region = serializers.CharField(required=False, max_length=64)
    kind = serializers.CharField(required=False, max_length=40)
    sku = serializers.CharField(required=False, max_length=80)


class PriceSync(StrictSerializer):
    """Which prices to read."""

    cloud = serializers.ChoiceField(choices=CLOUDS)
    region = serializers.RegexField(r"\A[a-z0-9-]{2,40}\Z")


class PricesView(ApiView):
    tag = "Costs"
    routes = {
        "GET": list_route("cost.read", "List synced prices", PriceOut, PriceQuery),
        "POST": Route("cost.price.sync", "Sync prices of a region", {202: OperationOut}, body=PriceSync),
    }

    def get(self, request):
        """What the clouds' price APIs told; where nothing was synced, estimates use the built-in list
        prices.
        """
        rows = Price.objects.all()
        for name in ("cloud", "region", "kind", "sku"):
            if name in self.params:
                rows = rows.filter(**{name: self.params[name]})
        return self.answer_page(rows)

    def post(self, request):
        """Reads the cloud's price lists; a price that changed holds from its day on."""
        return accepted(
            self, prices_sync.prices_sync(project=self.project, requested_by=self.actor.name, **self.values)
        )


class NodePriceOut(serializers.Serializer):
    """What a node that no cloud bills here costs an hour."""

    id = serializers.CharField()
    provider = serializers.CharField()
    target = serializers.CharField(allow_null=True, source="target.name", default=None)
    cpus = serializers.DecimalField(max_digits=8, decimal_places=2)
    memory_gib = serializers.DecimalField(max_digits=10, decimal_places=2)
    price = serializers.SerializerMethodField(help_text="An hour of the whole node.")
    created_by = serializers.CharField()

    def get_price(self, price) -> Money:
        return {"amount": f"{price.amount.normalize():f}", "currency": price.currency}


class NodePriceSet(StrictSerializer):
    """What a node costs an hour."""

    provider = serializers.CharField(max_length=32, help_text="kubernetes, local")
    target = serializers.CharField(required=False, max_length=64, help_text="Of this target alone.")
    cpus = serializers.DecimalField(max_digits=8, decimal_places=2)
    memory_gib = serializers.DecimalField(max_digits=10, decimal_places=2)
    price = AnyAmount()


class NodePricesView(ApiView):
    tag = "Costs"
    routes = {
        "GET": list_route("cost.read", "List node prices", NodePriceOut),
        "POST": Route("cost.price.give", "Set a node price", {201: NodePriceOut}, body=NodePriceSet),
    }

    def get(self, request):
        """Clusters and machines that no cloud bills here are priced by these."""
        return self.answer_page(NodePrice.objects.filter(project=self.project).select_related("target"))

    def post(self, request):
        """Replaces what was set for the same provider and target."""
        given = self.values
        if given["provider"] not in provider_names():
            raise InvalidError(f"Known providers: {', '.join(provider_names())}.", field="provider")
        target = target_find(self.project, given["target"]) if given.get("target") else None
        price = estimates.node_price_set(
            project=self.project,
            provider=given["provider"],
            target=target,
            cpus=given["cpus"],
            memory_gib=given["memory_gib"],
            amount=given["price"]["amount"],
            currency=given["price"]["currency"],
            set_by=self.actor.name,
        )
        return self.answer(price, status=201, headers={"Location": f"/api/v1/costs/node-prices/{price.pk}"})


class NodePriceView(ApiView):
    tag = "Costs"
    routes = {"DELETE": Route("cost.price.give", "Delete a node price", {204: None})}

    def delete(self, request, node_price):
        """Estimates that were made with it stay."""
        found = by_id(NodePrice.objects.filter(project=self.project), "npr", node_price, what="node price")
        estimates.node_price_delete(price=found, deleted_by=self.actor.name)
        return Response(status=204)


class NodeIn(AnyAmount):
    """A node's size and what an hour of it costs."""

    cpus = serializers.DecimalField(max_digits=8, decimal_places=2, min_value=Decimal("0.01"))
    memory_gib = serializers.DecimalField(max_digits=10, decimal_places=2, min_value=Decimal("0.01"))


class ResourceIn(StrictSerializer):
    """One thing to price. `kind: requests` is a share of nodes (`cpus`, `memory_gib`), everything else a
    cloud's `sku`.
    """

    name = serializers.CharField(required=False, max_length=100)
    cloud = serializers.CharField(
        max_length=32, help_text="aws, azure, gcp; kubernetes or local for `requests`"
    )
    region = serializers.CharField(required=False, max_length=64, allow_blank=True, default="")
    kind = serializers.ChoiceField(choices=RESOURCE_KINDS)
    sku = serializers.CharField(
        required=False, max_length=80, default="", help_text="m6g.xlarge, gp3, nat, ..."
    )
    quantity = serializers.DecimalField(
        max_digits=12, decimal_places=3, min_value=Decimal(0), default=Decimal(1)
    )
    hours = serializers.DecimalField(
        max_digits=7,
        decimal_places=2,
        min_value=Decimal(0),
        default=Decimal(730),
        help_text="Of a month of 730.",
    )
    gib = serializers.DecimalField(max_digits=15, decimal_places=3, min_value=Decimal(0), required=False)
    millions = serializers.DecimalField(max_digits=15, decimal_places=3, min_value=Decimal(0), required=False)
    cpus = serializers.DecimalField(max_digits=8, decimal_places=3, min_value=Decimal(0), required=False)
    memory_gib = serializers.DecimalField(
        max_digits=10, decimal_places=3, min_value=Decimal(0), required=False
    )
    node = NodeIn(required=False)

    def validate(self, values):
        if values["kind"] == "requests":
            if values["cloud"] not in NODES_OF:
                raise serializers.ValidationError({"cloud": f"Requests are of {' or '.join(NODES_OF)}."})
            if not values.get("cpus") and not values.get("memory_gib"):
                raise serializers.ValidationError(
                    {"cpus": "Say what is asked for: cpus, memory_gib or both."}
                )
        elif values["cloud"] not in dict(CLOUDS):
            raise serializers.ValidationError({"cloud": f"Give one of {', '.join(dict(CLOUDS))}."})
        elif not values["sku"]:
            raise serializers.ValidationError({"sku": "Name what it is, such as m6g.xlarge."})
        return values


class EstimateCreate(StrictSerializer):
    """What to price."""

    resources = ResourceIn(many=True, allow_empty=False)
    name = serializers.CharField(required=False, max_length=100, allow_blank=True, default="")
    target = serializers.CharField(
        required=False, max_length=64, help_text="The target whose bill the estimate is held against."
    )


class UnitPriceOut(Money):
    """A price with where it is from."""

    unit = serializers.CharField()
    as_of = serializers.DateField(help_text="The day it holds for.")
    source = serializers.CharField()
    origin = serializers.CharField(help_text="synced, list or given")
    region = serializers.CharField(help_text="Whose price it is; another region's where that has none.")
    checked = serializers.BooleanField(help_text="False for a list price that nobody looked up on its day.")


class EstimatedLine(serializers.Serializer):
    """One resource priced."""

    resource = serializers.DictField(child=serializers.JSONField())
    monthly = Money(allow_null=True, help_text="Null when no price is known; `note` says so.")
    unit_price = UnitPriceOut(allow_null=True)
    note = serializers.CharField()


class EstimateOut(serializers.Serializer):
    """What resources cost a month, one total of each currency."""

    id = serializers.CharField()
    name = serializers.CharField()
    target = serializers.CharField(source="target.name", default=None, allow_null=True)
    plan = serializers.SerializerMethodField(help_text="The plan it was made for, or null.")
    lines = EstimatedLine(many=True)
    totals = Money(many=True)
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()

    def get_plan(self, estimate) -> str | None:
        return estimate.plan or None


class VarianceOut(serializers.Serializer):
    """An estimate against the bill of its target, both of a month."""

    estimated = Money()
    billed = Money(
        allow_null=True, help_text="By the days billed so far, as of a whole month; null without any."
    )
    difference = Money(allow_null=True)
    percent = serializers.FloatField(allow_null=True)
    days = serializers.IntegerField(help_text="How many days of bill it follows from.")


class EstimateShown(EstimateOut):
    """An estimate with how it compares to the bill."""

    variance = serializers.SerializerMethodField(
        help_text="One entry of each currency; none without a target."
    )

    def get_variance(self, estimate) -> VarianceOut(many=True):
        return variance.estimate_variance(estimate, timezone.now().date())


class EstimatesView(ApiView):
    tag = "Costs"
    routes = {
        "GET": list_route("cost.read", "List estimates", EstimateOut),
        "POST": Route("cost.estimate.make", "Estimate resources", {201: EstimateOut}, body=EstimateCreate),
    }

    def get(self, request):
        """Those that were kept, newest first."""
        return self.answer_page(Estimate.objects.filter(project=self.project).select_related("target"))

    def post(self, request):
        """Prices every resource and keeps the estimate. Nothing is bought or changed."""
        given = self.values
        target = target_find(self.project, given["target"]) if given.get("target") else None
        kept = estimates.estimate_keep(
            project=self.project,
            name=given["name"],
            resources=[_plain(resource) for resource in given["resources"]],
            target=target,
            created_by=self.actor.name,
        )
        return self.answer(kept, status=201, headers={"Location": f"/api/v1/costs/estimates/{kept.pk}"})


class EstimateView(ApiView):
    tag = "Costs"
    routes = {
        "GET": Route("cost.read", "Show an estimate", {200: EstimateShown}),
        "DELETE": Route("cost.estimate.make", "Delete an estimate", {204: None}),
    }

    def _find(self, reference):
        rows = Estimate.objects.filter(project=self.project).select_related("target", "project")
        return by_id(rows, "est", reference, what="estimate")

    def get(self, request, estimate):
        """With its variance to the bill, when it is of a target."""
        return self.answer(self._find(estimate))

    def delete(self, request, estimate):
        """Forgets it."""
        estimates.estimate_delete(estimate=self._find(estimate), deleted_by=self.actor.name)
        return Response(status=204)


def _plain(value):
    """Validated values as JSON keeps them: decimals as text."""
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value
