"""The page's files, read once into memory: a few hundred kB that a build has left in `page/`."""

import gzip
import mimetypes
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

FOLDER = Path(__file__).parent / "page"
PAGE_BYTES_MAX = 16 * 1024 * 1024
INDEX = "index.html"
FOR_EVER = "public, max-age=31536000, immutable"
ASK_FIRST = "no-cache"
SQUEEZED = ("text/", "application/javascript", "application/json", "image/svg")


@dataclass(frozen=True)
class Asset:
    """One file, as it is and, where that is shorter, as gzip."""

    data: bytes
    squeezed: bytes
    media: str
    etag: str


@dataclass(frozen=True)
class Page:
    """The files by their path under the root."""

    assets: dict[str, Asset]

    @classmethod
    def read(cls, folder: Path = FOLDER) -> "Page":
        """Every file under a folder; none if it is not there."""
        assets: dict[str, Asset] = {}
        left = PAGE_BYTES_MAX
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.stat().st_size <= left:
                data = path.read_bytes()
                left -= len(data)
                assets[path.relative_to(folder).as_posix()] = _asset(path.name, data)
        return cls(assets)

    def file(self, request: Request) -> Response:
        """The response to a GET; raises `HTTPException`."""
        name = request.path_params["path"] or INDEX
        asset = self.assets.get(name)
        if asset is None:
            raise HTTPException(404, "no such file or route")
        named_by_hash = name.startswith("assets/")
        headers = {
            "Cache-Control": FOR_EVER if named_by_hash else ASK_FIRST,
            "ETag": asset.etag,
            "Vary": "Accept-Encoding",
        }
        if request.headers.get("if-none-match") == asset.etag:
            return Response(status_code=304, headers=headers)
        if asset.squeezed and "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(asset.squeezed, 200, headers, asset.media)
        return Response(asset.data, 200, headers, asset.media)


def _asset(name: str, data: bytes) -> Asset:
    media = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if media == "text/javascript" or name.endswith((".js", ".mjs")):
        media = "text/javascript"
    squeezed = gzip.compress(data, mtime=0) if media.startswith(SQUEEZED) else b""
    etag = f'"{sha256(data).hexdigest()[:32]}"'
    return Asset(data, squeezed if len(squeezed) < len(data) else b"", media, etag)
