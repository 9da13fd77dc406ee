"""S3-compatible stores through s3fs: one request per call; object_store.py retries.

S3Store("bucket").put("runs/demo/run.json", b"{}")

Credentials, region and endpoint come from the usual AWS sources: AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY, ~/.aws or the instance role; AWS_ENDPOINT_URL for another provider.
"""

from typing import Any

import aiohttp
import s3fs
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from trainers.storage.errors import Fault, read_fault

MARK = "made-by"
# One attempt per call: its retries would multiply ours.
CLIENT = {
    "retries": {"total_max_attempts": 1, "mode": "standard"},
    "connect_timeout": 10,
    "read_timeout": 60,
}


class S3Store:
    """A bucket. s3fs caches no listings; its `retries` of 1 means one attempt."""

    errors: tuple[type[Exception], ...] = (
        OSError,
        BotoCoreError,
        ClientError,
        aiohttp.ClientError,
    )
    remedy = (
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN for temporary ones) "
        "or AWS_PROFILE, with permission to list, read, write and delete there"
    )

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
        self._fs = s3fs.S3FileSystem(
            config_kwargs=CLIENT,
            max_concurrency=1,
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        self._fs.retries = 1

    def fault(self, error: Exception) -> Fault:
        """Translate an exception of s3fs or botocore; s3fs keeps the response in the cause."""
        answer = error if isinstance(error, ClientError) else error.__cause__
        if isinstance(answer, ClientError):
            about: Any = answer.response.get("ResponseMetadata", {})
            code = str(answer.response.get("Error", {}).get("Code", ""))
            return read_fault(about.get("HTTPStatusCode"), code, about.get("HTTPHeaders", {}))
        if isinstance(error, NoCredentialsError):
            return Fault(None, "NoCredentials")
        return Fault(None, f"{type(error).__name__}: {error}")

    def page(self, prefix: str, token: str | None) -> tuple[list[str], str | None]:
        """Up to 1,000 keys."""
        more = {} if token is None else {"ContinuationToken": token}
        out = self._fs.call_s3("list_objects_v2", Bucket=self._bucket, Prefix=prefix, **more)
        return [row["Key"] for row in out.get("Contents", ())], out.get("NextContinuationToken")

    def size(self, key: str) -> int:
        """Bytes of an object."""
        head = self._fs.call_s3("head_object", Bucket=self._bucket, Key=key)
        return int(head["ContentLength"])

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """An object or a byte range; a truncated body raises."""
        path = f"{self._bucket}/{key}"
        if length is None:
            return bytes(self._fs.cat_file(path))
        return bytes(self._fs.cat_file(path, start=start, end=start + length))

    def put(self, key: str, data: bytes, *, mark: str | None = None) -> None:
        """Write an object; with a `mark` the store answers 412 if the object exists."""
        new: dict[str, Any] = {} if mark is None else {"IfNoneMatch": "*", "Metadata": {MARK: mark}}
        self._fs.call_s3("put_object", Bucket=self._bucket, Key=key, Body=data, **new)

    def mark(self, key: str) -> str | None:
        """The mark of the writer that created an object."""
        head = self._fs.call_s3("head_object", Bucket=self._bucket, Key=key)
        found = head.get("Metadata", {}).get(MARK)
        return None if found is None else str(found)

    def delete(self, key: str) -> None:
        """Remove an object; S3 does not report whether there was one."""
        self._fs.call_s3("delete_object", Bucket=self._bucket, Key=key)

    def copy(self, key: str, target: str) -> None:
        """Server-side copy; above 5 GB in parts."""
        self._fs.cp_file(f"{self._bucket}/{key}", f"{self._bucket}/{target}")

    def begin(self, key: str) -> str:
        """Start a multipart upload. The bucket's lifecycle rule deletes uncommitted ones."""
        out = self._fs.call_s3("create_multipart_upload", Bucket=self._bucket, Key=key)
        return str(out["UploadId"])

    def part(self, key: str, upload: str, number: int, data: bytes) -> str:
        """Send a part; returns its ETag."""
        out = self._fs.call_s3(
            "upload_part",
            Bucket=self._bucket,
            Key=key,
            UploadId=upload,
            PartNumber=number,
            Body=data,
        )
        return str(out["ETag"])

    def commit(self, key: str, upload: str, parts: list[str]) -> None:
        """Complete the multipart upload."""
        rows = [{"PartNumber": i, "ETag": etag} for i, etag in enumerate(parts, start=1)]
        self._fs.call_s3(
            "complete_multipart_upload",
            Bucket=self._bucket,
            Key=key,
            UploadId=upload,
            MultipartUpload={"Parts": rows},
        )
