"""Cloud Storage: gs://bucket/object, with Application Default Credentials (workload identity, for one)."""

import contextlib
import functools
from urllib.parse import unquote, urlsplit

import google.api_core.exceptions
import google.auth.exceptions
import google.cloud.storage

from vectors.jobs.work import FailedError
from vectors.transfer import sinks, sources

# The most objects that one composition takes.
COMPOSED_MOST = 32
TIMEOUT_SECONDS = 60


def told(call):
    """A method whose SDK errors come out as FailedError with what to do."""

    @functools.wraps(call)
    def work(self, *arguments):
        try:
            return call(self, *arguments)
        except google.auth.exceptions.GoogleAuthError as error:
            raise FailedError(
                f"There are no Google credentials here ({error}): give the replicas a workload identity."
            ) from None
        except google.api_core.exceptions.NotFound:
            raise FailedError(f"There is no {self.name} in Cloud Storage.") from None
        except google.api_core.exceptions.Forbidden:
            raise FailedError(f"The identity of this replica may not use {self.name}.") from None
        except google.api_core.exceptions.PreconditionFailed:
            raise FailedError(f"{self.name} changed while it was read.") from None
        except google.api_core.exceptions.GoogleAPIError as error:
            raise FailedError(f"Cloud Storage refuses {self.name}: {error}.") from None

    return work


class Place:
    """A bucket, and the name of an object in it."""

    def __init__(self, url: str):
        parts = urlsplit(url)
        self.key = unquote(parts.path).lstrip("/")
        self.name = f"{parts.netloc}/{self.key}"
        self.open(parts.netloc)

    @told
    def open(self, bucket: str) -> None:
        self.client = google.cloud.storage.Client()
        self.bucket = self.client.bucket(bucket)

    def close(self) -> None:
        self.client.close()


class Object(Place, sources.Source):
    """An object of a bucket."""

    block_bytes = sources.FAR_BLOCK_BYTES

    def __init__(self, url: str):
        super().__init__(url)
        self.look()

    @told
    def look(self) -> None:
        self.blob = self.bucket.blob(self.key)
        self.blob.reload(timeout=TIMEOUT_SECONDS)
        self.size = self.blob.size
        self.identity = f"{self.size} bytes of generation {self.blob.generation}"

    @told
    def read_at(self, offset: int, size: int) -> bytes:
        if offset >= self.size or not size:
            return b""
        return self.blob.download_as_bytes(
            start=offset,
            end=min(offset + size, self.size) - 1,
            if_generation_match=self.blob.generation,
            timeout=TIMEOUT_SECONDS,
        )


class Making(Place, sinks.Sink):
    """An object that is composed of objects beside it, which are its state and go when it is there."""

    def __init__(self, url: str, job_id):
        super().__init__(url)
        self.job = job_id.hex

    def part(self, number: int):
        return self.bucket.blob(f"{self.key}.{self.job}.part-{number:06}")

    def resume(self, state: dict) -> bool:
        try:
            return not state["parts"] or self.part(len(state["parts"]) - 1).exists(timeout=TIMEOUT_SECONDS)
        except google.api_core.exceptions.GoogleAPIError:
            return False

    @told
    def put(self, state: dict, part: bytes) -> None:
        self.part(len(state["parts"])).upload_from_string(part, timeout=TIMEOUT_SECONDS)
        state["parts"].append(len(part))

    @told
    def finish(self, state: dict) -> None:
        parts = [self.part(number) for number in range(len(state["parts"]))]
        if not parts[0].exists(timeout=TIMEOUT_SECONDS):
            # Composed by a runner that died before it could say so, and tidied up the first of them.
            found = self.bucket.get_blob(self.key, timeout=TIMEOUT_SECONDS)
            if found is None or found.size != sum(state["parts"]):
                raise FailedError(f"The parts of {self.name} have gone.")
        else:
            whole = self.bucket.blob(self.key)
            making = parts[0] if len(parts) == 1 else self.bucket.blob(f"{self.key}.{self.job}.whole")
            making.compose(parts[:COMPOSED_MOST], timeout=TIMEOUT_SECONDS)
            for begin in range(COMPOSED_MOST, len(parts), COMPOSED_MOST - 1):
                making.compose([making, *parts[begin : begin + COMPOSED_MOST - 1]], timeout=TIMEOUT_SECONDS)
            whole.compose([making], timeout=TIMEOUT_SECONDS)
        self.abandon(state)

    def abandon(self, state: dict) -> None:
        names = [self.part(number) for number in range(len(state.get("parts", ())))]
        for blob in (*names, self.bucket.blob(f"{self.key}.{self.job}.whole")):
            with contextlib.suppress(google.api_core.exceptions.GoogleAPIError):
                blob.delete(timeout=TIMEOUT_SECONDS)


class Removed(Place):
    """An object that is to be no more, with the parts of it that were never composed."""

    @told
    def remove(self) -> None:
        with contextlib.closing(self.client):
            for blob in self.client.list_blobs(self.bucket, prefix=self.key, timeout=TIMEOUT_SECONDS):
                rest = blob.name.removeprefix(self.key)
                if not rest or (rest.startswith(".") and (".part-" in rest or rest.endswith(".whole"))):
                    with contextlib.suppress(google.api_core.exceptions.NotFound):
                        blob.delete(timeout=TIMEOUT_SECONDS)
