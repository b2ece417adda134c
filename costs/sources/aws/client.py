"""Amazon S3 and Cost Explorer, through boto3."""

import functools
from collections.abc import Iterator
from datetime import date

import boto3
import botocore.config
import botocore.exceptions

from costs.sources.base import Read, SourceError, Stored

CONFIG = botocore.config.Config(
    connect_timeout=10, read_timeout=60, retries={"mode": "standard", "max_attempts": 5}
)
DENIED = ("AccessDenied", "AccessDeniedException", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch")
DENIED += ("UnrecognizedClientException", "ExpiredToken", "InvalidClientTokenId")
GONE = ("NoSuchBucket", "NoSuchKey", "404")


def told(call):
    """A function whose SDK errors come out as SourceError, with what to do."""

    @functools.wraps(call)
    def work(*arguments, **named):
        try:
            return call(*arguments, **named)
        except botocore.exceptions.NoCredentialsError:
            raise SourceError(
                "There are no AWS credentials here.",
                permanent=True,
                remedy="Give the source keys or a role, or the worker an identity.",
            ) from None
        except botocore.exceptions.ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in DENIED:
                raise SourceError(
                    f"AWS refuses: {error}", permanent=True, remedy="Check the credentials' rights."
                ) from None
            if code in GONE:
                raise SourceError(
                    f"AWS says: {error}", permanent=True, remedy="Check bucket and prefix."
                ) from None
            raise SourceError(f"AWS says: {error}") from None
        except botocore.exceptions.BotoCoreError as error:
            raise SourceError(f"AWS did not answer: {error}") from None

    return work


@told
def session(credentials: dict, region: str) -> boto3.session.Session:
    """A session of keys, of a role, or of whatever identity is at hand."""
    made = boto3.session.Session(
        aws_access_key_id=credentials.get("access_key_id") or None,
        aws_secret_access_key=credentials.get("secret_access_key") or None,
        region_name=region or "us-east-1",
    )
    if role := credentials.get("role_arn"):
        values = {"RoleArn": role, "RoleSessionName": "aindusdb-costs"}
        if external := credentials.get("external_id"):
            values["ExternalId"] = external
        given = made.client("sts", config=CONFIG).assume_role(**values)["Credentials"]
        made = boto3.session.Session(
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
            region_name=region or "us-east-1",
        )
    return made


class Bucket:
    """A bucket's objects below a prefix."""

    def __init__(self, credentials: dict, region: str, bucket: str, prefix: str):
        self._s3 = session(credentials, region).client("s3", config=CONFIG)
        self._bucket, self._prefix = bucket, prefix

    @told
    def objects(self) -> list[Stored]:
        """All of them."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        return [
            Stored(one["Key"], one["ETag"], one["Size"], one["LastModified"])
            for page in pages
            for one in page.get("Contents", [])
        ]

    @told
    def opened(self, one: Stored) -> Read:
        """A function that reads an object, as it was when it was listed."""
        body = self._s3.get_object(Bucket=self._bucket, Key=one.key, IfMatch=one.version)["Body"]
        return told(body.read)


class CostExplorer:
    """Costs by day and service."""

    def __init__(self, credentials: dict):
        # Its only endpoint is there.
        self._ce = session(credentials, "us-east-1").client("ce", config=CONFIG)

    @told
    def _page(self, **values) -> dict:
        return self._ce.get_cost_and_usage(**values)

    def days(self, since: date, until: date, metrics: list[str], group_by: list[str]) -> Iterator[dict]:
        """Each day's groups: {start, end, keys, metrics: {name: {Amount, Unit}}, estimated}."""
        values = {
            "TimePeriod": {"Start": str(since), "End": str(until)},
            "Granularity": "DAILY",
            "Metrics": metrics,
            "GroupBy": [{"Type": "DIMENSION", "Key": key} for key in group_by],
        }
        while True:
            page = self._page(**values)
            for day in page["ResultsByTime"]:
                for group in day["Groups"]:
                    yield {
                        "start": day["TimePeriod"]["Start"],
                        "end": day["TimePeriod"]["End"],
                        "estimated": day.get("Estimated", False),
                        "keys": group["Keys"],
                        "metrics": group["Metrics"],
                    }
            token = page.get("NextPageToken")
            if not token:
                return
            values["NextPageToken"] = token

    def total(self, since: date, until: date) -> dict[str, str]:
        """{currency: the total that AWS tells of a month}."""
        page = self._page(
            TimePeriod={"Start": str(since), "End": str(until)},
            Granularity="MONTHLY",
            Metrics=["UnblendedCost"],
        )
        found = {}
        for one in page["ResultsByTime"]:
            told_total = one["Total"]["UnblendedCost"]
            found[told_total["Unit"]] = told_total["Amount"]
        return found
