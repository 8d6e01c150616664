"""The exchanges of a batch with the provider: upload, create, poll, download, cancel.

    POST /files ─► POST /batches ─► GET /batches/ID … ─► GET /files/ID/content ─► output.jsonl

A batch carries its key as metadata. If the reply to its creation is lost, it is looked up by it.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import orjson
from pyreqwest.multipart import FormBuilder, PartBuilder

from orcinus.core.errors import CompleterError
from orcinus.core.files import write_atomically
from orcinus.models.remote.batch_journal import REQUESTS, Batch
from orcinus.models.remote.endpoint import Endpoint
from orcinus.models.remote.endpoint_config import BatchConfig, EndpointConfig

MAX_OUTPUT_BYTES = 4 * 2**30
"""Bytes of a batch's replies, at most."""
_ENDED = {"completed", "failed", "expired", "cancelled"}


class BatchProvider:
    """The four exchanges of a batch with the provider: upload, create, poll, download."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._base = endpoint.config.base_urls[0].rstrip("/")

    async def adopt(self, batch: Batch) -> bool:
        """Look a batch up that was about to be sent; return True and note its id if it was."""
        found = await self._find(batch.state.key)
        if found is not None:
            batch.save(progress="sent", batch_id=found["id"], status=str(found.get("status")))
        return found is not None

    async def collect(self, batch: Batch, config: BatchConfig) -> bool:
        """Send the batch unless it was sent, wait for its end, and download what there is.

        Returns:
            False when the provider has no room for it now.

        Raises:
            CompleterError: The provider refused the batch or cannot be reached.
        """
        if batch.state.progress == "prepared":
            if batch.state.file_id is None:
                batch.save(file_id=await self._upload(batch))
            made = await self._create(batch, config)
            batch.save(progress="sent", batch_id=made["id"], status=str(made.get("status")))
        while True:
            seen = await self._fetch("GET", f"/batches/{batch.state.batch_id}")
            status = str(seen.get("status"))
            answered = (seen.get("request_counts") or {}).get("completed") or 0
            if (status, answered) != (batch.state.status, batch.state.answered):
                batch.save(status=status, answered=answered)
            if status in _ENDED:
                break
            await asyncio.sleep(config.poll_s)
        why = _describe_failure(seen)
        if status == "failed" and not seen.get("output_file_id"):
            if "limit" in why:  # the provider's limit on queued tokens or requests
                batch.save(progress="prepared", why=why)
                return False
            batch.save(progress="refused", why=why)
            raise CompleterError(
                "bad_request",
                f"batch {batch.state.batch_id} failed: {why}",
                permanent=True,
                fatal=True,
            )
        for name, file_id in (
            ("output", seen.get("output_file_id")),
            ("errors", seen.get("error_file_id")),
        ):
            if file_id:
                content = await self._fetch_bytes("GET", f"/files/{file_id}/content")
                write_atomically(batch.folder / f"{name}.jsonl", content)
        batch.save(progress="ended", why=why)
        return True

    async def cancel(self, batch: Batch) -> None:
        """Ask the provider to stop the batch. Its answers so far are paid for and stay there."""
        seen = await self._fetch("POST", f"/batches/{batch.state.batch_id}/cancel", body=b"{}")
        batch.save(status=str(seen.get("status")))

    async def _find(self, key: str) -> dict[str, Any] | None:
        """Return the provider's batch with this key; None if it was never created."""
        after = ""
        while True:
            page = await self._fetch("GET", f"/batches?limit=100{after}")
            rows = [row for row in page.get("data") or [] if isinstance(row, dict)]
            for row in rows:
                if (row.get("metadata") or {}).get("orcinus") == key and row.get(
                    "status"
                ) != "failed":
                    return row
            if not page.get("has_more") or not rows:
                return None
            after = f"&after={rows[-1]['id']}"

    async def _upload(self, batch: Batch) -> str:
        content = (batch.folder / REQUESTS).read_bytes()

        def form() -> FormBuilder:
            part = PartBuilder.from_bytes(content).file_name(f"orcinus-{batch.state.key}.jsonl")
            return (
                FormBuilder().text("purpose", "batch").part("file", part.mime("application/jsonl"))
            )

        return str((await self._fetch("POST", "/files", form=form))["id"])

    async def _create(self, batch: Batch, config: BatchConfig) -> dict[str, Any]:
        """Create the batch. If the reply is lost, look the batch up before creating it again."""
        body = {
            "input_file_id": batch.state.file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": config.window,
            "metadata": {"orcinus": batch.state.key},
        }
        patience = self._endpoint.config.patience
        for tried in range(1, patience.tries + 1):
            try:
                made = await self._fetch_once("POST", "/batches", body=orjson.dumps(body))
                batch.may_exist = False
                return made
            except CompleterError as error:
                batch.may_exist = error.cost_unknown or error.kind == "bad_reply"
                if error.permanent or tried == patience.tries:
                    raise
                await asyncio.sleep(patience.pause_s(error, tried))
                found = await self._find(batch.state.key)
                batch.may_exist = False
                if found is not None:
                    return found
        raise AssertionError("unreachable: the last try raises")

    async def _fetch(self, method: str, path: str, **what: Any) -> dict[str, Any]:
        return _parse_object(await self._fetch_bytes(method, path, **what), path)

    async def _fetch_once(self, method: str, path: str, *, body: bytes) -> dict[str, Any]:
        content, _ = await self._endpoint.wire.exchange(method, self._base + path, body=body)
        return _parse_object(content, path)

    async def _fetch_bytes(
        self, method: str, path: str, *, body: bytes | None = None, form: Any = None
    ) -> bytes:
        patience = self._endpoint.config.patience
        for tried in range(1, patience.tries + 1):
            try:
                content, _ = await self._endpoint.wire.exchange(
                    method,
                    self._base + path,
                    body=body,
                    form=form() if form else None,
                    limit=MAX_OUTPUT_BYTES,
                )
                return content
            except CompleterError as error:
                if error.permanent or tried == patience.tries:
                    raise
                await asyncio.sleep(patience.pause_s(error, tried))
        raise AssertionError("unreachable: the last try raises")


async def cancel(batch: Batch, *, secrets: Mapping[str, str]) -> None:
    """Ask the provider to stop ``batch``.

    Raises:
        CompleterError: The provider refused, or it cannot be reached.
        ConfigError: A key is not set.
    """
    endpoint = Endpoint(EndpointConfig(**batch.state.config), secrets=secrets)
    try:
        await BatchProvider(endpoint).cancel(batch)
    finally:
        await endpoint.aclose()


def _describe_failure(seen: Mapping[str, Any]) -> str:
    """Return the provider's errors about the batch as a whole, as one line."""
    rows = (seen.get("errors") or {}).get("data") or []
    said = [
        f"{row.get('code') or ''} {row.get('message') or ''}".strip()
        for row in rows
        if isinstance(row, dict)
    ]
    return "; ".join(said)[:300]


def _parse_object(content: bytes, path: str) -> dict[str, Any]:
    try:
        seen = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise CompleterError("bad_reply", f"{path}: not valid JSON ({error})") from error
    if not isinstance(seen, dict):
        raise CompleterError("bad_reply", f"{path}: not a JSON object")
    return cast("dict[str, Any]", seen)
