"""A local S3 server (moto's), for tests. Needs ``orcinus[s3]``, ``moto[s3]`` and ``flask-cors``."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

SECRET = "wJalrXUtnFEMI0K7MDENG0bPxRfiCYEXAMPLEKEY"


@contextmanager
def s3_server(bucket: str, files: Mapping[str, bytes]) -> Iterator[dict[str, str]]:
    """Serve a bucket for the block; yield the environment of a user who may read and write it."""
    pytest.importorskip("s3fs", reason="needs the extra s3")
    server = pytest.importorskip(
        "moto.server", reason="needs moto[s3] and flask-cors"
    ).ThreadedMotoServer(port=0)
    import boto3

    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        key = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": SECRET}
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **key)
        client.create_bucket(Bucket=bucket)
        for name, content in files.items():
            client.put_object(Bucket=bucket, Key=name, Body=content)
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "AKIATEST",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
        }
    finally:
        server.stop()
