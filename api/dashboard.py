"""The page: static files that ``make dashboard`` builds, given out under a policy that lets it talk to this host only.

It uses nothing but the public API and the WebSocket: whatever it shows, another frontend can show.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Header, Request, Response

from api.context import Api
from producers.errors import NotFound

router = APIRouter(include_in_schema=False)
# The page finds its way by itself (dashboard/src/main.tsx): each of its addresses is the same document.
PAGES: Final = ("/", "/jobs/{job_id}", "/new", "/compare", "/datasets", "/models", "/system")
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# Built names hold a hash of the content.
FOR_EVER: Final = "public, max-age=31536000, immutable"
ALWAYS_ASK: Final = "no-cache"
NOT_BUILT: Final = b"""<!doctype html><html lang="en"><title>epochlog</title>
<p>The page is not built here. Run <code>make dashboard</code> in the checkout and load this again.
The API answers without it: <a href="/docs">its documentation</a>.</p></html>"""


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    compressed: bytes
    media_type: str
    etag: str


@cache
def load_assets(folder: Path, built: int) -> dict[str, Asset]:
    """All built files by their path below the folder, some hundreds of kB. ``built`` tells one build from the next."""
    assets = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        body = path.read_bytes()
        media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        assets[path.relative_to(folder).as_posix()] = Asset(body, gzip.compress(body, 9, mtime=0), media_type, etag)
    return assets


def _assets(folder: Path) -> dict[str, Asset]:
    index = folder / "index.html"
    return load_assets(folder, index.stat().st_mtime_ns) if index.exists() else {}


AcceptEncoding = Annotated[str, Header()]
IfNoneMatch = Annotated[str, Header()]


def _answer(asset: Asset, caching: str, accept_encoding: str, if_none_match: str) -> Response:
    headers = {**SECURITY, "Cache-Control": caching, "ETag": asset.etag, "Vary": "Accept-Encoding"}
    if if_none_match == asset.etag:
        return Response(status_code=304, headers=headers)
    if "gzip" in accept_encoding and len(asset.compressed) < len(asset.body):
        return Response(asset.compressed, headers={**headers, "Content-Encoding": "gzip"}, media_type=asset.media_type)
    return Response(asset.body, headers=headers, media_type=asset.media_type)


async def page(api: Api, accept_encoding: AcceptEncoding = "", if_none_match: IfNoneMatch = "") -> Response:
    asset = _assets(api.settings.dashboard_folder).get("index.html")
    if asset is None:
        return Response(NOT_BUILT, 503, {**SECURITY, "Cache-Control": ALWAYS_ASK}, media_type="text/html")
    return _answer(asset, ALWAYS_ASK, accept_encoding, if_none_match)


for address in PAGES:
    router.add_api_route(address, page, methods=["GET"])


@router.get("/icon.svg")
@router.get("/assets/{name}")
async def file(
    request: Request, api: Api, accept_encoding: AcceptEncoding = "", if_none_match: IfNoneMatch = ""
) -> Response:
    path = request.url.path.removeprefix("/")
    asset = _assets(api.settings.dashboard_folder).get(path)
    if asset is None:
        raise NotFound(f"the page has no file {path[:200]!r}; load it again, it may have been built anew")
    caching = FOR_EVER if path.startswith("assets/") else ALWAYS_ASK
    return _answer(asset, caching, accept_encoding, if_none_match)
