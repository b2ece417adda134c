"""Azure Blob Storage and the Cost Management query, through Azure's own libraries."""

import functools
from collections.abc import Iterator

from azure.core import PipelineClient
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, HeadersPolicy, RetryPolicy
from azure.core.rest import HttpRequest
from azure.identity import ClientSecretCredential, DefaultAzureCredential
from azure.storage.blob import ContainerClient
from django.conf import settings

from costs.sources.base import Read, SourceError, Stored

API_VERSION = "2023-11-01"
SCOPE = "https://management.azure.com/.default"


def told(call):
    """A function whose SDK errors come out as SourceError, with what to do."""

    @functools.wraps(call)
    def work(*arguments, **named):
        try:
            return call(*arguments, **named)
        except ClientAuthenticationError as error:
            raise SourceError(
                f"Azure refuses: {error.message}", permanent=True, remedy="Check the credentials' rights."
            ) from None
        except ResourceNotFoundError as error:
            raise SourceError(
                f"Azure says: {error.message}", permanent=True, remedy="Check account, container and scope."
            ) from None
        except HttpResponseError as error:
            refused = error.status_code in (400, 401, 403)
            raise SourceError(f"Azure says: {error.message}", permanent=refused) from None
        except AzureError as error:
            raise SourceError(f"Azure did not answer: {error}") from None

    return work


def identity(credentials: dict):
    """An application's secret, or whatever identity is at hand."""
    if credentials.get("client_secret"):
        return ClientSecretCredential(
            credentials.get("tenant_id", ""), credentials.get("client_id", ""), credentials["client_secret"]
        )
    return DefaultAzureCredential(exclude_interactive_browser_credential=True)


class Container:
    """A container's blobs below a prefix."""

    @told
    def __init__(self, credentials: dict, account: str, container: str, prefix: str):
        url = settings.COST_AZURE_BLOB_URL.format(account=account)
        key = credentials.get("account_key") or credentials.get("sas_token")
        if credentials.get("account_key"):
            key = {"account_name": account, "account_key": credentials["account_key"]}
        self._client = ContainerClient(url, container, credential=key or identity(credentials))
        self._prefix = prefix

    @told
    def objects(self) -> list[Stored]:
        """All of them."""
        return [
            Stored(one.name, one.etag, one.size, one.last_modified)
            for one in self._client.list_blobs(name_starts_with=self._prefix or None)
        ]

    @told
    def opened(self, one: Stored) -> Read:
        """A function that reads a blob."""
        return told(self._client.download_blob(one.key, max_concurrency=1).read)


class CostManagement:
    """The query API of a scope (a subscription, a resource group, a billing account)."""

    def __init__(self, credentials: dict, scope: str):
        base = settings.COST_AZURE_MANAGEMENT_URL
        if base.startswith("https://"):
            policy = BearerTokenCredentialPolicy(identity(credentials), SCOPE)
        else:
            # A stand-in on this machine: Azure's own policy sends tokens over TLS alone.
            policy = HeadersPolicy({"Authorization": "Bearer none"})
        self._client = PipelineClient(base, policies=[RetryPolicy(retry_total=3), policy])
        path = f"{scope.strip('/')}/providers/Microsoft.CostManagement/query"
        self._url = f"{base.rstrip('/')}/{path}?api-version={API_VERSION}"

    @told
    def _page(self, url: str, body: dict) -> dict:
        response = self._client.send_request(HttpRequest("POST", url, json=body))
        if response.status_code >= 400:
            error = HttpResponseError(response=response)
            raise ClientAuthenticationError(response=response) if response.status_code == 401 else error
        return response.json()["properties"]

    def rows(self, body: dict) -> Iterator[dict]:
        """The rows of a query by column, a page at a time."""
        url = self._url
        while url:
            page = self._page(url, body)
            names = [column["name"] for column in page["columns"]]
            for row in page["rows"]:
                yield dict(zip(names, row, strict=True))
            url = page.get("nextLink") or ""
