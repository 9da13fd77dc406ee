"""Azure Blob Storage through adlfs: one request per call; object_store.py retries.

AzureStore("container", "account.dfs.core.windows.net").put("runs/demo/run.json", b"{}")

Credentials are adlfs's own: AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_ACCOUNT_KEY,
AZURE_STORAGE_SAS_TOKEN, `az login` or a managed identity.
"""

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import uuid4

import adlfs
import aiohttp
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.storage.blob import BlobBlock
from azure.storage.blob.aio import BlobClient, BlobServiceClient, ContainerClient
from fsspec.asyn import sync

from datasets_src.errors import UserError
from trainers.storage.errors import Fault, read_fault

MARK = "made_by"
PART_LIMIT = 64 * 2**20
# One attempt per call: its retries would multiply ours. A body is read in one response.
CLIENT: dict[str, Any] = {
    "retry_total": 0,
    "connection_timeout": 10,
    "read_timeout": 60,
    "max_single_put_size": PART_LIMIT,
    "max_single_get_size": PART_LIMIT,
    "max_chunk_get_size": PART_LIMIT,
}
COPY_POLL_S = 1.0
Value = TypeVar("Value")


class AzureStore:
    """A container of a storage account."""

    errors: tuple[type[Exception], ...] = (OSError, AzureError, aiohttp.ClientError)
    remedy = (
        "set AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_ACCOUNT_KEY or "
        "AZURE_STORAGE_SAS_TOKEN, or run `az login` as a user with the role Storage Blob "
        "Data Contributor on the account"
    )

    def __init__(self, container: str, host: str) -> None:
        account = host.split(".")[0]
        self._name = container
        self._fs = adlfs.AzureBlobFileSystem(
            account_name=account, use_listings_cache=False, skip_instance_cache=True
        )
        self._service = _service(self._fs)
        weakref.finalize(self, _close, self._fs.loop, self._service)
        # A connection string names an account too, and adlfs prefers it.
        if self._service.account_name not in (None, account):
            raise UserError(
                f"output_dir: account {account}, but AZURE_STORAGE_CONNECTION_STRING names "
                f"{self._service.account_name}; use the same account in both"
            )

    def fault(self, error: Exception) -> Fault:
        """Translate an exception of the client."""
        if isinstance(error, HttpResponseError) and error.status_code is not None:
            code = str(getattr(error, "error_code", None) or error.reason or "")
            answer: Any = error.response
            headers = {} if answer is None else answer.headers
            return read_fault(error.status_code, code.removeprefix("StorageErrorCode."), headers)
        if isinstance(error, ClientAuthenticationError):
            return Fault(None, "NoCredentials")
        return Fault(None, f"{type(error).__name__}: {error}")

    def page(self, prefix: str, token: str | None) -> tuple[list[str], str | None]:
        """Up to 5,000 keys, without the folder placeholders of a hierarchical account."""

        async def list_once(container: ContainerClient) -> tuple[list[str], str | None]:
            rows = container.list_blobs(name_starts_with=prefix, include=["metadata"])
            pages: Any = rows.by_page(continuation_token=token)
            found = [blob async for blob in await anext(pages)]
            names = [b.name for b in found if (b.metadata or {}).get("hdi_isfolder") != "true"]
            return names, pages.continuation_token or None

        async def run() -> tuple[list[str], str | None]:
            async with self._service.get_container_client(self._name) as container:
                return await list_once(container)

        result: tuple[list[str], str | None] = sync(self._fs.loop, run)
        return result

    def size(self, key: str) -> int:
        """Bytes of an object."""
        return int(self._blob(key, lambda blob: blob.get_blob_properties()).size)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """An object or a byte range; the client re-requests a truncated body at most twice."""

        async def read(blob: BlobClient) -> bytes:
            offset = None if length is None else start
            stream = await blob.download_blob(offset=offset, length=length, max_concurrency=1)
            return bytes(await stream.readall())

        return self._blob(key, read)

    def put(self, key: str, data: bytes, *, mark: str | None = None) -> None:
        """Write an object; with a `mark` the store answers 409 if the object exists."""
        about = None if mark is None else {MARK: mark}
        self._blob(key, lambda blob: blob.upload_blob(data, overwrite=mark is None, metadata=about))

    def mark(self, key: str) -> str | None:
        """The mark of the writer that created an object."""
        found = self._blob(key, lambda blob: blob.get_blob_properties()).metadata.get(MARK)
        return None if found is None else str(found)

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._blob(key, lambda blob: blob.delete_blob())

    def copy(self, key: str, target: str) -> None:
        """Server-side copy. Azure may answer before it is complete, so the status is polled."""

        async def copy(blob: BlobClient) -> None:
            source = self._service.get_blob_client(self._name, key).url
            status: Any = (await blob.start_copy_from_url(source))["copy_status"]
            while status == "pending":
                await asyncio.sleep(COPY_POLL_S)
                status = (await blob.get_blob_properties()).copy.status
            if status != "success":
                raise OSError(f"copy of {key} ended as {status}")

        self._blob(target, copy)

    def begin(self, key: str) -> str:
        """A random prefix of the block ids: blocks of two uploads never mix."""
        return uuid4().hex

    def part(self, key: str, upload: str, number: int, data: bytes) -> str:
        """Stage a block; returns its id."""
        block = f"{upload}-{number:06d}"
        self._blob(key, lambda blob: blob.stage_block(block, data, length=len(data)))
        return block

    def commit(self, key: str, upload: str, parts: list[str]) -> None:
        """Commit the block list."""
        blocks = [BlobBlock(block_id=block) for block in parts]
        self._blob(key, lambda blob: blob.commit_block_list(blocks))

    def _blob(self, key: str, action: Callable[[BlobClient], Awaitable[Value]]) -> Value:
        """Run one action of a blob client on adlfs's event loop."""

        async def run() -> Value:
            async with self._service.get_blob_client(self._name, key) as blob:
                return await action(blob)

        value: Value = sync(self._fs.loop, run)
        return value


def _service(fs: "adlfs.AzureBlobFileSystem") -> BlobServiceClient:
    """A client with the credentials that adlfs found, without its 3 retries of 15 s."""
    if fs.connection_string is not None:
        return BlobServiceClient.from_connection_string(fs.connection_string, **CLIENT)
    credential = fs.credential or fs.account_key
    signature = "" if credential else (fs.sas_token or "")
    return BlobServiceClient(fs.account_url + signature, credential=credential, **CLIENT)


def _close(loop: asyncio.AbstractEventLoop, service: BlobServiceClient) -> None:
    closing = asyncio.run_coroutine_threadsafe(service.close(), loop)
    # The garbage collector may run this on the loop's thread, which would wait for itself.
    if threading.current_thread() is threading.main_thread():
        closing.result(timeout=5)
