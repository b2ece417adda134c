"""Google Cloud Storage and BigQuery, through Google's own libraries."""

import functools
import json
import os
from collections.abc import Iterator

from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage
from google.oauth2 import service_account

from costs.sources.base import Read, SourceError, Stored

TIMEOUT = 60


def told(call):
    """A function whose SDK errors come out as SourceError, with what to do."""

    @functools.wraps(call)
    def work(*arguments, **named):
        try:
            return call(*arguments, **named)
        except (exceptions.Forbidden, exceptions.Unauthorized) as error:
            raise SourceError(
                f"Google refuses: {error.message}",
                permanent=True,
                remedy="Check the service account's roles.",
            ) from None
        except (exceptions.NotFound, exceptions.BadRequest) as error:
            raise SourceError(
                f"Google says: {error.message}", permanent=True, remedy="Check project, bucket and table."
            ) from None
        except (exceptions.GoogleAPIError, OSError) as error:
            raise SourceError(f"Google did not answer: {error}") from None
        except auth_exceptions.GoogleAuthError as error:
            raise SourceError(
                f"There is no identity for Google here: {error}",
                permanent=True,
                remedy="Give the source a service account's key, or the worker an identity.",
            ) from None

    return work


def _identity(credentials: dict, emulator: str):
    if key := credentials.get("service_account_json"):
        return service_account.Credentials.from_service_account_info(
            json.loads(key), scopes=["https://www.googleapis.com/auth/cloud-platform"]
        )
    return AnonymousCredentials() if os.environ.get(emulator) else None


class Bucket:
    """A bucket's objects below a prefix."""

    @told
    def __init__(self, credentials: dict, project: str, bucket: str, prefix: str):
        self._client = storage.Client(
            project=project or None, credentials=_identity(credentials, "STORAGE_EMULATOR_HOST")
        )
        self._bucket, self._prefix = bucket, prefix

    @told
    def objects(self) -> list[Stored]:
        """All of them."""
        return [
            Stored(one.name, one.etag or one.md5_hash or str(one.generation), one.size, one.updated)
            for one in self._client.list_blobs(self._bucket, prefix=self._prefix, timeout=TIMEOUT)
        ]

    @told
    def opened(self, one: Stored) -> Read:
        """A function that reads an object."""
        return told(self._client.bucket(self._bucket).blob(one.key).open("rb", timeout=TIMEOUT).read)

    def close(self) -> None:
        self._client.close()


class Tables:
    """Queries in BigQuery."""

    @told
    def __init__(self, credentials: dict, project: str, location: str):
        self._client = bigquery.Client(
            project=project,
            location=location or None,
            credentials=_identity(credentials, "BIGQUERY_EMULATOR_HOST"),
        )

    @told
    def rows(self, sql: str, parameters: dict[str, str]) -> Iterator[dict]:
        """The rows of a query, a page at a time; parameters are texts."""
        config = bigquery.QueryJobConfig(
            query_parameters=[
                bigquery.ScalarQueryParameter(name, "STRING", value) for name, value in parameters.items()
            ]
        )
        found = self._client.query_and_wait(
            sql, job_config=config, page_size=20_000, api_timeout=TIMEOUT, wait_timeout=600, job_retry=None
        )
        return self._each(iter(found))

    @staticmethod
    def _each(rows) -> Iterator[dict]:
        following = told(lambda: next(rows, None))
        while (row := following()) is not None:
            yield dict(row.items())

    def close(self) -> None:
        self._client.close()
