"""Prices: the built-in table, and the clouds' price APIs as their own forms of answer say them."""

import json
from datetime import date
from decimal import Decimal

import pytest

from costs.models_planning import Price
from costs.prices import price_for
from costs.prices_list import table
from costs.prices_sync import prices_sync
from tests.costs.billing import run

pytestmark = pytest.mark.django_db
TODAY = date(2026, 11, 25)


@pytest.fixture
def price_api(inbox, settings):
    settings.PRICES_URLS = dict.fromkeys(("aws", "azure", "gcp"), inbox.url)
    settings.GCP_PRICES_KEY = "k-1"
    return inbox


def sync(project, cloud, region):
    return run(prices_sync(project=project, cloud=cloud, region=region, requested_by="test"))


def test_every_price_of_the_table_has_a_source_and_a_day():
    assert len(table().prices) > 150
    for price in table().prices.values():
        assert price.source and price.as_of <= TODAY and price.currency == "USD" and price.amount >= 0
        assert price.unit in ("hour", "gib_hour", "gib_month", "month", "gib", "million")
    assert {key[0] for key in table().prices} == {"aws", "azure", "gcp"}


def test_a_region_without_a_price_gets_the_base_region_s_and_says_so():
    found = price_for("aws", "us-east-1", "node", "m6g.xlarge", TODAY)
    assert (found.amount, found.unit, found.origin, found.checked) == (Decimal("0.154"), "hour", "list", True)
    elsewhere = price_for("aws", "ap-southeast-2", "node", "m6g.xlarge", TODAY)
    assert elsewhere.amount == found.amount and elsewhere.region == "us-east-1"
    assert price_for("aws", "us-east-1", "node", "m99.huge", TODAY) is None
    # 4 vCPUs and 16 GiB of Cloud SQL, each at its own rate.
    database = price_for("gcp", "us-central1", "database", "db-custom-4-16384", TODAY)
    assert database.amount == 4 * Decimal("0.0413") + 16 * Decimal("0.007")


AWS_HEAD = (
    '"FormatVersion","v1.0"\n"Disclaimer","x"\n"Publication Date","2026-11-20T00:00:00Z"\n"Version","1"\n'
    '"OfferCode","AmazonEC2"\n'
    '"SKU","OfferTermCode","RateCode","TermType","PriceDescription","EffectiveDate","StartingRange","EndingRange",'
    '"Unit","PricePerUnit","Currency","Product Family","Instance Type","Operating System","Tenancy",'
    '"CapacityStatus","Pre Installed S/W","usageType","Volume API Name","Database Engine","Cache Engine"\n'
)


def aws_row(
    sku,
    price,
    *,
    term="OnDemand",
    family="",
    instance="",
    os="",
    usage="",
    volume="",
    start="0",
    db="",
    cache="",
):
    machine = ("Shared", "Used", "NA") if os else ("", "", "")
    cells = [
        sku,
        "T",
        "R",
        term,
        "d",
        "2026-11-01",
        start,
        "Inf",
        "Hrs",
        price,
        "USD",
        family,
        instance,
        os,
        *machine,
    ]
    return ",".join(f'"{cell}"' for cell in [*cells, usage, volume, db, cache]) + "\n"


def test_aws_bulk_files_are_read_as_csv(project, price_api):
    files = {
        "AmazonEC2": AWS_HEAD
        + aws_row("A1", "0.1500000000", family="Compute Instance", instance="m6g.xlarge", os="Linux")
        + aws_row("A2", "0.3000000000", family="Compute Instance", instance="m6g.xlarge", os="Windows")
        + aws_row(
            "A3",
            "0.0900000000",
            term="Reserved",
            family="Compute Instance",
            instance="m6g.xlarge",
            os="Linux",
        )
        + aws_row("A4", "0.0790000000", family="Storage", usage="EBS:VolumeUsage.gp3", volume="gp3")
        + aws_row("A5", "0.0440000000", usage="NatGateway-Hours"),
        "AmazonRDS": AWS_HEAD
        + aws_row(
            "R1",
            "1.0300000000",
            family="Database Instance",
            instance="db.r6g.2xlarge",
            db="Aurora PostgreSQL",
            usage="InstanceUsage:db.r6g.2xl",
        )
        + aws_row(
            "R2",
            "1.3400000000",
            family="Database Instance",
            instance="db.r6g.2xlarge",
            db="Aurora PostgreSQL",
            usage="InstanceUsageIOOptimized:db.r6g.2xl",
        ),
        "AmazonS3": AWS_HEAD
        + aws_row("S1", "0.0225000000", usage="TimedStorage-ByteHrs")
        + aws_row("S2", "0.0210000000", usage="TimedStorage-ByteHrs", start="51200"),
    }
    for name in (
        "AmazonEC2",
        "AmazonRDS",
        "AmazonElastiCache",
        "AmazonEKS",
        "AWSELB",
        "AmazonVPC",
        "AmazonS3",
    ):
        path = f"/offers/v1.0/aws/{name}/current/us-east-1/index.csv"
        price_api.pages[path] = files.get(name, AWS_HEAD).encode()
    done = sync(project, "aws", "us-east-1")
    assert done.status == "succeeded", done.error
    assert done.result == {"read": 5, "changed": 5}
    found = price_for("aws", "us-east-1", "node", "m6g.xlarge", TODAY)
    assert (found.amount, found.origin, found.as_of) == (Decimal("0.15"), "synced", date(2026, 11, 1))
    assert price_for("aws", "us-east-1", "database", "db.r6g.2xlarge", TODAY).amount == Decimal("1.03")
    assert price_for("aws", "us-east-1", "object_storage", "standard", TODAY).amount == Decimal("0.0225")
    # The same lists again change nothing; a new price is a new row, and the old one stays.
    assert sync(project, "aws", "us-east-1").result == {"read": 5, "changed": 0}
    path = "/offers/v1.0/aws/AmazonEC2/current/us-east-1/index.csv"
    price_api.pages[path] = price_api.pages[path].replace(b"0.1500000000", b"0.1600000000")
    assert sync(project, "aws", "us-east-1").result["changed"] == 1
    assert Price.objects.filter(sku="m6g.xlarge").count() == 2
    assert price_for("aws", "us-east-1", "node", "m6g.xlarge", date(2026, 11, 2)).amount == Decimal("0.15")


def azure_item(service, price, **more):
    return {
        "serviceName": service,
        "retailPrice": price,
        "currencyCode": "USD",
        "unitOfMeasure": "1 Hour",
        "effectiveStartDate": "2026-10-01T00:00:00Z",
        "tierMinimumUnits": 0.0,
        "meterId": "m",
    } | more


def test_azure_retail_prices_are_followed_from_page_to_page(project, price_api):
    machines = [
        azure_item(
            "Virtual Machines", 0.19, armSkuName="Standard_D4s_v3", meterName="D4s v3", productName="DSv3"
        ),
        azure_item(
            "Virtual Machines",
            0.38,
            armSkuName="Standard_D4s_v3",
            meterName="D4s v3",
            productName="DSv3 Windows",
        ),
        azure_item(
            "Virtual Machines",
            0.04,
            armSkuName="Standard_D4s_v3",
            meterName="D4s v3 Spot",
            productName="DSv3",
        ),
    ]
    database = azure_item(
        "Azure Database for PostgreSQL",
        0.35,
        armSkuName="Standard_D4ds_v5",
        productName="Azure Database for PostgreSQL Flexible Server General Purpose Ddsv5 Series Compute",
        meterName="vCore",
    )
    price_api.pages["/api/retail/prices"] = b'{"Items": []}'
    first = (
        "/api/retail/prices?%24filter=armRegionName+eq+%27eastus%27+and+serviceName+eq+%27Virtual+Machines%27"
    )
    whole = f"{first}+and+priceType+eq+%27Consumption%27"
    price_api.pages[whole] = json.dumps(
        {"Items": machines[:2], "NextPageLink": f"{price_api.url}/api/retail/prices?page=2"}
    ).encode()
    price_api.pages["/api/retail/prices?page=2"] = json.dumps({"Items": [machines[2], database]}).encode()
    done = sync(project, "azure", "eastus")
    assert done.result == {"read": 3, "changed": 3}
    assert price_for("azure", "eastus", "node", "Standard_D4s_v3", TODAY).amount == Decimal("0.19")
    assert price_for("azure", "eastus", "node_spot", "Standard_D4s_v3", TODAY).amount == Decimal("0.04")
    assert price_for("azure", "eastus", "database", "GP_Standard_D4ds_v5", TODAY).amount == Decimal("0.35")
    # A page that leads to another host is not followed.
    price_api.pages[whole] = json.dumps(
        {"Items": [], "NextPageLink": "http://elsewhere.invalid/api/retail/prices?page=2"}
    ).encode()
    refused = sync(project, "azure", "eastus")
    assert refused.status == "failed" and "another host" in refused.error


def gcp_sku(number, text, units, nanos, usage="OnDemand", region="us-central1"):
    rate = {"startUsageAmount": 0, "unitPrice": {"currencyCode": "USD", "units": str(units), "nanos": nanos}}
    return {
        "skuId": number,
        "description": text,
        "category": {"usageType": usage},
        "serviceRegions": [region],
        "pricingInfo": [
            {"effectiveTime": "2026-11-01T00:00:00Z", "pricingExpression": {"tieredRates": [rate]}}
        ],
    }


def test_google_s_machines_are_put_together_of_cores_and_memory(project, price_api):
    compute = "/v1/services/6F81-5844-456A/skus?pageSize=5000"
    for service in ("9662-B51E-5089", "CCD8-9BF1-090E", "5AF5-2C11-D467", "95FF-2EF5-5EA1"):
        price_api.pages[f"/v1/services/{service}/skus"] = b'{"skus": []}'
    price_api.pages[f"{compute}&key=k-1"] = json.dumps(
        {
            "skus": [
                gcp_sku("C", "N2 Instance Core running in Americas", 0, 31_611_000),
                gcp_sku("M", "N2 Instance Ram running in Americas", 0, 4_237_000),
                gcp_sku("E", "N2 Instance Core running in Belgium", 0, 40_000_000, region="europe-west1"),
            ],
            "nextPageToken": "t/2",
        }
    ).encode()
    price_api.pages[f"{compute}&pageToken=t/2&key=k-1"] = json.dumps(
        {"skus": [gcp_sku("D", "SSD backed PD Capacity", 0, 170_000_000)]}
    ).encode()
    done = sync(project, "gcp", "us-central1")
    assert done.status == "succeeded", done.error
    assert price_for("gcp", "us-central1", "node", "n2-standard-4", TODAY).amount == Decimal("0.194236")
    assert price_for("gcp", "us-central1", "disk", "pd-ssd", TODAY).origin == "synced"


def test_a_price_api_that_is_away_is_tried_again_and_one_that_refuses_is_not(project, price_api):
    for service in ("6F81-5844-456A", "9662-B51E-5089", "CCD8-9BF1-090E", "5AF5-2C11-D467", "95FF-2EF5-5EA1"):
        price_api.pages[f"/v1/services/{service}/skus"] = json.dumps(
            {"skus": [gcp_sku("D", "SSD backed PD Capacity", 0, 170_000_000)]}
        ).encode()
    price_api.answers = [503]
    assert sync(project, "gcp", "us-central1").status == "succeeded"
    price_api.answers = [403]
    refused = sync(project, "gcp", "us-central1")
    assert refused.status == "failed" and refused.error_code == "denied" and "API key" in refused.remedy
    price_api.pages = dict.fromkeys(price_api.pages, b'{"skus": []}')
    nothing = sync(project, "gcp", "us-central1")
    assert nothing.status == "failed" and nothing.error_code == "no_prices"
