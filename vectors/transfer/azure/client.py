"""Azure Blob: az://container/blob of the account in the environment, or https://ACCOUNT.blob.core.windows.net/...

The account is that of AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT with the ambient identity
(workload identity, managed identity, environment), by the names that Azure's own tools use.
"""

import base64
import contextlib
import functools
import os
from urllib.parse import unquote, urlsplit

import azure.core
import azure.core.exceptions
import azure.identity
import azure.storage.blob

from vectors.jobs.work import FailedError
from vectors.transfer import sinks, sources


def blob_of(url: str) -> azure.storage.blob.BlobClient:
    parts = urlsplit(url)
    path = unquote(parts.path).lstrip("/")
    if parts.scheme == "https":
        account, (container, _, name) = f"https://{parts.netloc}", path.partition("/")
    else:
        container, name = parts.netloc, path
        if text := os.environ.get("AZURE_STORAGE_CONNECTION_STRING"):
            service = azure.storage.blob.BlobServiceClient.from_connection_string(text)
            return service.get_blob_client(container, name)
        if not os.environ.get("AZURE_STORAGE_ACCOUNT"):
            raise FailedError("az:// needs AZURE_STORAGE_ACCOUNT in the environment of the replicas.")
        account = f"https://{os.environ['AZURE_STORAGE_ACCOUNT']}.blob.core.windows.net"
    credential = azure.identity.DefaultAzureCredential()
    return azure.storage.blob.BlobClient(account, container, name, credential=credential)


def told(call):
    """A method whose SDK errors come out as FailedError with what to do."""

    @functools.wraps(call)
    def work(self, *arguments):
        try:
            return call(self, *arguments)
        except azure.core.exceptions.ResourceNotFoundError:
            raise FailedError(f"There is no {self.name} in Blob storage.") from None
        except azure.core.exceptions.ClientAuthenticationError as error:
            raise FailedError(
                f"The identity of this replica may not use {self.name}: {first_line(error)}."
            ) from None
        except azure.core.exceptions.ResourceModifiedError:
            raise FailedError(f"{self.name} changed while it was read.") from None
        except azure.core.exceptions.AzureError as error:
            raise FailedError(f"Blob storage refuses {self.name}: {first_line(error)}.") from None

    return work


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


class Object(sources.Source):
    """A blob."""

    block_bytes = sources.FAR_BLOCK_BYTES

    def __init__(self, url: str):
        self.blob = blob_of(url)
        self.name = f"{self.blob.container_name}/{self.blob.blob_name}"
        self.look()

    @told
    def look(self) -> None:
        found = self.blob.get_blob_properties()
        self.size, self.etag = found.size, found.etag
        self.identity = f"{self.size} bytes {self.etag}"

    @told
    def read_at(self, offset: int, size: int) -> bytes:
        if offset >= self.size or not size:
            return b""
        return self.blob.download_blob(
            offset,
            min(size, self.size - offset),
            etag=self.etag,
            match_condition=azure.core.MatchConditions.IfNotModified,
        ).readall()

    def close(self) -> None:
        self.blob.close()


class Making(sinks.Sink):
    """A blob that is made of blocks; those that were staged are its state."""

    def __init__(self, url: str, job_id):
        self.blob = blob_of(url)
        self.job = job_id.hex
        self.name = f"{self.blob.container_name}/{self.blob.blob_name}"

    def resume(self, state: dict) -> bool:
        try:
            committed, staged = self.blob.get_block_list("all")
        except azure.core.exceptions.AzureError:
            return False
        return set(state["parts"]) <= {block.id for block in (*committed, *staged)}

    @told
    def put(self, state: dict, part: bytes) -> None:
        block = base64.b64encode(f"{self.job}-{len(state['parts']):06}".encode()).decode()
        self.blob.stage_block(block, part)
        state["parts"].append(block)

    @told
    def finish(self, state: dict) -> None:
        # Blocks that were committed already may be committed again.
        self.blob.commit_block_list([azure.storage.blob.BlobBlock(block) for block in state["parts"]])

    def abandon(self, state: dict) -> None:
        """Blocks that are never committed are forgotten by the store, after a week."""
        with contextlib.suppress(azure.core.exceptions.AzureError):
            self.blob.close()


class Removed:
    """A blob that is to be no more; blocks that were never committed are forgotten by the store."""

    def __init__(self, url: str):
        self.blob = blob_of(url)
        self.name = f"{self.blob.container_name}/{self.blob.blob_name}"

    @told
    def remove(self) -> None:
        with contextlib.closing(self.blob), contextlib.suppress(azure.core.exceptions.ResourceNotFoundError):
            self.blob.delete_blob()
