"""Which module serves a URL, and what to do when a vendor's SDK is not installed."""

from urllib.parse import urlsplit

from django.utils.module_loading import import_string

from vectors.jobs.work import FailedError

# By scheme: the module with Source and Sink classes, and the package that it needs.
CLIENTS = {
    "s3": ("vectors.transfer.aws.client", "boto3"),
    "gs": ("vectors.transfer.gcp.client", "google-cloud-storage"),
    "az": ("vectors.transfer.azure.client", "azure-storage-blob"),
}
BLOB_HOST = ".blob.core.windows.net"


def store_of(url: str) -> str:
    """The scheme whose client serves a URL; https for what any server may be.

    A Blob address without a signature needs an identity, and so the vendor's client.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" and (parts.hostname or "").endswith(BLOB_HOST) and "sig=" not in parts.query:
        return "az"
    return "https" if parts.scheme == "http" else parts.scheme


def source(url: str):
    """The Source of a URL that is allowed."""
    return _made(url, "Object", "Fetched", url)


def sink(url: str, job_id):
    """The Sink of a URL that is allowed."""
    return _made(url, "Making", "Put", url, job_id)


def remove(url: str) -> None:
    """Delete an object, and what is unfinished of it; absence is fine."""
    store = store_of(url)
    if store == "https":
        raise FailedError("What any web server keeps cannot be deleted from here: use s3://, gs:// or az://.")
    _client(store, "Removed")(url).remove()


def _made(url: str, of_store: str, of_web: str, *arguments):
    store = store_of(url)
    if store == "https":
        return import_string(f"vectors.transfer.web.{of_web}")(url)
    return _client(store, of_store)(*arguments)


def _client(store: str, kind: str):
    module, package = CLIENTS[store]
    try:
        return import_string(f"{module}.{kind}")
    except ImportError as error:
        raise FailedError(
            f"{package} is not installed here ({error}): install it with script/bootstrap --clouds, send an"
            " upload, or use a presigned https URL."
        ) from None
