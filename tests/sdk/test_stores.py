"""S3, Blob and Cloud Storage through the vendors' SDKs, against servers that stand for them."""

import base64
import contextlib
import http.client
import os
import shutil
import subprocess
import sysconfig

import psycopg
import pytest

from tests.sdk.environments import node_modules_of, python_of
from tests.vectors.conftest import vectors_url  # noqa: F401
from tests.vectors.test_backups import command, scratch
from tests.vectors.test_process import Server, die_with_tests, free_port, until
from tests.vectors.test_transfer_process import killed_in_the_middle

pytestmark = pytest.mark.sdk
COUNT, DIMENSION = 6000, 512
AZURE_ACCOUNT, AZURE_KEY = "devstoreaccount1", base64.b64encode(b"no secret at all" * 4).decode()


class Store:
    """A server that stands for a store: how it is told to the SDK, and what URLs of it begin with."""

    def __init__(self, command, folder, environment, url, settings, ready="/"):
        self.url = url
        self.settings = settings
        with (folder / "store.log").open("wb") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder,
                env=os.environ | environment,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_tests,
            )
        until(lambda: self.process.poll() is not None or answers(environment["PORT"], ready), seconds=30)
        assert self.process.poll() is None, (folder / "store.log").read_text()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def answers(port: str, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=5)
    with contextlib.suppress(OSError), contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().status > 0
    return False


def s3(folder) -> Store:
    port, python = str(free_port()), python_of("stores")
    settings = {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    environment = {"PORT": port, "GATEWAY_PORT": port, "BIND_HOST": "127.0.0.1", "SERVICES": "s3"}
    return Store([python.parent / "ministack"], folder, environment, "s3://bucket/points", settings)


def blob(folder) -> Store:
    port = str(free_port())
    settings = {
        "AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;AccountName={AZURE_ACCOUNT};"
        f"AccountKey={AZURE_KEY};BlobEndpoint=http://127.0.0.1:{port}/{AZURE_ACCOUNT};"
    }
    command = ["node", node_modules_of("azurite") / ".bin" / "azurite-blob", "--inMemoryPersistence"]
    command += ["--blobPort", port, "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    environment = {"PORT": port, "AZURITE_ACCOUNTS": f"{AZURE_ACCOUNT}:{AZURE_KEY}"}
    return Store(command, folder, environment, "az://bucket/points", settings)


def gcs(folder) -> Store:
    port, python = str(free_port()), python_of("stores")
    settings = {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}", "GOOGLE_CLOUD_PROJECT": "test"}
    command = [python.parent / "gcp-storage-emulator", "start", "--port", port, "--host", "127.0.0.1"]
    command += ["--in-memory", "--quiet", "--default-bucket", "bucket"]
    return Store(command, folder, {"PORT": port}, "gs://bucket/points", settings)


MAKE_BUCKET = {
    s3: "import boto3; boto3.client('s3', region_name='us-east-1').create_bucket(Bucket='bucket')",
    blob: "import os, azure.storage.blob as b; b.BlobServiceClient.from_connection_string("
    "os.environ['AZURE_STORAGE_CONNECTION_STRING']).create_container('bucket')",
    gcs: "",
}
LEFT = {
    s3: "import boto3; c = boto3.client('s3', region_name='us-east-1');"
    "print([o['Key'] for o in c.list_objects_v2(Bucket='bucket').get('Contents', [])],"
    " c.list_multipart_uploads(Bucket='bucket').get('Uploads', []))",
    blob: "import os, azure.storage.blob as b;"
    " print([o.name for o in b.BlobServiceClient.from_connection_string("
    "os.environ['AZURE_STORAGE_CONNECTION_STRING']).get_container_client('bucket').list_blobs()], [])",
    gcs: "import google.cloud.storage as s; print([o.name for o in s.Client().list_blobs('bucket')], [])",
}


def with_sdks() -> dict[str, str]:
    """The environment in which this installation's Python finds the clouds' SDKs as well."""
    folder = sysconfig.get_path("purelib", vars={"base": str(python_of("clouds").parent.parent)})
    return {"PYTHONPATH": folder}


@pytest.fixture(params=[s3, blob, gcs], ids=lambda kind: kind.__name__)
def store(request, tmp_path):
    """A running store with an empty bucket."""
    if request.param is blob and shutil.which("npm") is None:
        pytest.skip("azurite needs node and npm")
    made = request.param(tmp_path)
    made.run = lambda code: subprocess.run(
        [python_of("clouds"), "-c", code],
        env=os.environ | made.settings,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    if MAKE_BUCKET[request.param]:
        made.run(MAKE_BUCKET[request.param])
    made.left = lambda: made.run(LEFT[request.param])
    yield made
    made.stop()


def test_there_and_back(store, vectors_url, tmp_path):  # noqa: F811
    """Lines and Parquet, of several parts, by runners that are killed; the store keeps the files alone."""
    server = Server(
        vectors_url,
        tmp_path,
        AINDUS_TRANSFER_URLS=store.url.rpartition("/")[0],
        **store.settings,
        **with_sdks(),
    )
    names = [f"stored-{server.port}-{at}" for at in range(2)]

    def done(name, verb, **body):
        status, job, _ = server.call("POST", f"collections/{name}/{verb}", body)
        assert status == 202, job

        def ended():
            now = server.call("GET", f"jobs/{job['id']}")[1]
            return now["finished_at"] and now

        return until(ended, seconds=60)

    try:
        server.ready()
        for name in names:
            body = {"name": name, "dimension": DIMENSION, "auto_index": False}
            assert server.call("POST", "collections", body)[0] == 201
        with psycopg.connect(vectors_url) as db:
            table = db.execute(
                "SELECT 'vectors_data.p_' || replace(id::text, '-', '') FROM vectors_collection"
                " WHERE name = %s",
                [names[0]],
            ).fetchone()[0]
            db.execute(
                f"INSERT INTO {table} (id, embedding) SELECT i::text, array_fill((i % 99 + 1)::real,"
                f" ARRAY[{DIMENSION}])::vector FROM generate_series(1, {COUNT}) i"
            )
        expected = server.call("GET", f"collections/{names[0]}/checksum")[1]
        for format in ("ndjson", "parquet"):
            url = f"{store.url}.{format}"
            started = server.call("POST", f"collections/{names[0]}/export", {"url": url, "format": format})[1]
            job = killed_in_the_middle(server, vectors_url, started, 1)
            assert job["state"] == "succeeded", job["error"]
            assert job["result"]["bytes"] > 10 * 2**20
            job = done(names[1], "import", url=url, format=format)
            assert (job["state"], job["result"]["rows"], job["result"]["verified"]) == (
                "succeeded",
                COUNT,
                1,
            ), job
            found = server.call("GET", f"collections/{names[1]}/checksum")[1]
            assert found["checksum"] == expected["checksum"]
        assert store.left() == "['points.ndjson', 'points.parquet'] []"
        job = done(names[1], "import", url=f"{store.url}.none")
        assert (job["state"], job["error"][:12]) == ("failed", "There is no "), job
        assert "Traceback" not in server.log.read_text()
    finally:
        for name in names:
            with contextlib.suppress(OSError):
                server.call("DELETE", f"collections/{name}")
        server.stop()


def test_a_backup_and_its_end(store, vectors_url):  # noqa: F811
    """A backup is dumped into the store, read back from it, proven, and leaves nothing when it is deleted."""
    environment = store.settings | with_sdks()
    place = f"{store.url}/one.dump"
    told = command(vectors_url, "dump", "--at", place, **environment)
    assert told["state"] == "succeeded", told
    assert store.left() == "['points/one.dump', 'points/one.dump.json'] []"
    with scratch() as url:
        assert command(url, "restore", "--at", place, **environment)["state"] == "succeeded"
        assert command(url, "prove", "--at", place, **environment)["state"] == "succeeded"
    for _ in range(2):
        told = command(vectors_url, "delete", "--at", place, **environment)
        assert told["state"] == "succeeded", told
        assert store.left() == "[] []"
    told = command(vectors_url, "restore", "--at", place, **environment)
    assert told["state"] == "failed" and told["error"].startswith("There is no "), told
