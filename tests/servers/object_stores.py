"""Object stores on this machine, over real HTTP: moto implements S3, Azurite Azure Blob.

with s3_server() as url: bucket = new_bucket("s3", url); RemoteStorage(bucket.url)

Azurite is a Node program: `npm install azurite` in any folder above the tests, or on the PATH.
"""

import importlib.util
import logging
import shutil
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.fault_proxy import FaultProxy
from tests.servers.ray_head import free_port
from trainers.storage.object_store import RemoteStorage, Retry

# Azurite's public account: https://learn.microsoft.com/azure/storage/common/storage-use-azurite
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
AZURITE = "azurite-blob"
# Short first backoff, so that hundreds of failed calls fit in a test.
QUICK = Retry(total_s=20, first_wait_s=0.02)


@dataclass(frozen=True)
class Bucket:
    """An empty bucket: its URL, the environment variables to access it, and its fault proxy."""

    kind: str
    url: str
    environ: dict[str, str]
    proxy: FaultProxy

    def storage(self, folder: str = "runs/demo", *, retry: Retry = QUICK) -> RemoteStorage:
        return RemoteStorage(f"{self.url}/{folder}", retry=retry)


def new_bucket(kind: str, server: str) -> Bucket:
    """A new bucket on a server, behind its own proxy."""
    name, proxy = f"b{uuid.uuid4().hex[:12]}", FaultProxy(server)
    if kind == "s3":
        create = urllib.request.Request(f"{server}/{name}", method="PUT")
        urllib.request.urlopen(create).close()
        environ = {
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": proxy.url,
        }
        return Bucket(kind, f"s3://{name}", environ, proxy)
    from azure.storage.blob import BlobServiceClient

    with BlobServiceClient.from_connection_string(_connection(server)) as service:
        service.create_container(name)
    url = f"abfs://{name}@{ACCOUNT}.dfs.core.windows.net"
    return Bucket(kind, url, {"AZURE_STORAGE_CONNECTION_STRING": _connection(proxy.url)}, proxy)


@contextmanager
def s3_server() -> Iterator[str]:
    """The URL of an S3 server, or the reason why there is none."""
    missing = [name for name in ("s3fs", "moto") if importlib.util.find_spec(name) is None]
    if missing:
        yield f"S3: {' and '.join(missing)} not installed"
        return
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@contextmanager
def azure_server() -> Iterator[str]:
    """The URL of an Azure Blob server, or the reason why there is none."""
    program = _azurite()
    if program is None or importlib.util.find_spec("adlfs") is None:
        yield "Azure: adlfs or Azurite not installed (npm install azurite)"
        return
    port = free_port()
    command = [program, "--inMemoryPersistence", "--silent", "--skipApiVersionCheck"]
    command += ["--disableTelemetry", "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _azurite() -> str | None:
    for folder in Path(__file__).resolve().parents:
        if (program := folder / "node_modules" / ".bin" / AZURITE).exists():
            return str(program)
    return shutil.which(AZURITE)


def _connection(server: str) -> str:
    return (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
        f"BlobEndpoint={server}/{ACCOUNT};"
    )


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{AZURITE} ended with {process.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"{AZURITE} does not listen on port {port}")
