"""S3: s3://bucket/key, with the ambient identity that boto3 finds (role, profile, environment)."""

import contextlib
import functools
from urllib.parse import unquote, urlsplit

import boto3
import botocore.config
import botocore.exceptions

from vectors.jobs.work import FailedError
from vectors.transfer import sinks, sources

CONFIG = botocore.config.Config(
    connect_timeout=10, read_timeout=60, retries={"mode": "standard", "max_attempts": 5}
)
GONE = ("404", "NoSuchKey", "NoSuchUpload", "NotFound")


def place_of(url: str) -> dict:
    parts = urlsplit(url)
    return {"Bucket": parts.netloc, "Key": unquote(parts.path).lstrip("/")}


def client():
    # A bucket is reached in whichever region it lies from the one that is set, or this one.
    session = boto3.session.Session()
    return session.client("s3", region_name=session.region_name or "us-east-1", config=CONFIG)


def code_of(error) -> str:
    return error.response.get("Error", {}).get("Code", "")


def told(call):
    """A method whose SDK errors come out as FailedError with what to do."""

    @functools.wraps(call)
    def work(self, *arguments):
        try:
            return call(self, *arguments)
        except botocore.exceptions.NoCredentialsError:
            raise FailedError(
                "There are no AWS credentials here: give the replicas a role, or use a presigned URL."
            ) from None
        except botocore.exceptions.ClientError as error:
            code = code_of(error)
            if code in ("403", "AccessDenied"):
                raise FailedError(f"The identity of this replica may not use {self.name} on S3.") from None
            if code in GONE or code == "NoSuchBucket":
                raise FailedError(f"There is no {self.name} on S3.") from None
            if code in ("412", "PreconditionFailed"):
                raise FailedError(f"{self.name} changed while it was read.") from None
            raise FailedError(f"S3 refuses {self.name}: {error}.") from None
        except botocore.exceptions.BotoCoreError as error:
            raise FailedError(f"S3 did not answer for {self.name}: {error}.") from None

    return work


class Object(sources.Source):
    """An object of a bucket."""

    block_bytes = sources.FAR_BLOCK_BYTES

    def __init__(self, url: str):
        self.place = place_of(url)
        self.name = f"{self.place['Bucket']}/{self.place['Key']}"
        self.s3 = client()
        self.look()

    @told
    def look(self) -> None:
        found = self.s3.head_object(**self.place)
        self.size, self.etag = found["ContentLength"], found["ETag"]
        self.identity = f"{self.size} bytes {self.etag}"

    @told
    def read_at(self, offset: int, size: int) -> bytes:
        if offset >= self.size or not size:
            return b""
        end = min(offset + size, self.size) - 1
        found = self.s3.get_object(**self.place, Range=f"bytes={offset}-{end}", IfMatch=self.etag)
        return found["Body"].read()

    def close(self) -> None:
        self.s3.close()


class Making(sinks.Sink):
    """An object that is made by a multipart upload, whose id and parts are its state."""

    def __init__(self, url: str, job_id):
        self.place = place_of(url)
        self.name = f"{self.place['Bucket']}/{self.place['Key']}"
        self.s3 = client()

    @told
    def begin(self) -> dict:
        made = self.s3.create_multipart_upload(**self.place)
        return {"parts": [], "upload_id": made["UploadId"], "size": 0}

    def resume(self, state: dict) -> bool:
        try:
            self.s3.list_parts(**self.place, UploadId=state["upload_id"], MaxParts=1)
        except botocore.exceptions.ClientError:
            return False
        return True

    @told
    def put(self, state: dict, part: bytes) -> None:
        number = len(state["parts"]) + 1
        made = self.s3.upload_part(**self.place, UploadId=state["upload_id"], PartNumber=number, Body=part)
        state["parts"].append(made["ETag"])
        state["size"] += len(part)

    @told
    def finish(self, state: dict) -> None:
        parts = [{"PartNumber": at, "ETag": etag} for at, etag in enumerate(state["parts"], 1)]
        try:
            self.s3.complete_multipart_upload(
                **self.place, UploadId=state["upload_id"], MultipartUpload={"Parts": parts}
            )
        except botocore.exceptions.ClientError as error:
            # Completed by a runner that died before it could say so.
            if (
                code_of(error) not in GONE
                or self.s3.head_object(**self.place)["ContentLength"] != state["size"]
            ):
                raise

    def abandon(self, state: dict) -> None:
        with contextlib.suppress(botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
            if "upload_id" in state:
                self.s3.abort_multipart_upload(**self.place, UploadId=state["upload_id"])


class Removed:
    """An object that is to be no more."""

    def __init__(self, url: str):
        self.place = place_of(url)
        self.name = f"{self.place['Bucket']}/{self.place['Key']}"

    @told
    def remove(self) -> None:
        """Delete the object, and end the uploads of it that were never completed."""
        with contextlib.closing(client()) as s3:
            uploads = s3.list_multipart_uploads(Bucket=self.place["Bucket"], Prefix=self.place["Key"])
            for upload in uploads.get("Uploads", ()):
                if upload["Key"] == self.place["Key"]:
                    s3.abort_multipart_upload(**self.place, UploadId=upload["UploadId"])
            s3.delete_object(**self.place)
