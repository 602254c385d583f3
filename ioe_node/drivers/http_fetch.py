"""One HTTP request to a server on the internet, over httpx; all that it may send is bounded."""

import ssl
from collections.abc import Mapping

import httpx
import trio

from ioe_node.errors import LocalError, TransportError

DEADLINE_S = 30.0
BODY_BYTES_MAX = 1024 * 1024
CODES_TO_RETRY = (408, 425, 429)


async def fetch(
    url: str,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> bytes:
    """The body of a 200 answer to a GET, or to a POST of `content`.

    TransportError when there is none yet, LocalError when asking again cannot help.
    """
    method = "GET" if content is None else "POST"
    try:
        with trio.fail_after(DEADLINE_S):
            async with (
                httpx.AsyncClient(verify=tls or True, timeout=DEADLINE_S) as client,
                client.stream(method, url, content=content, headers=headers) as answer,
            ):
                body = bytearray()
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > BODY_BYTES_MAX:
                        raise LocalError(f"it sent more than {BODY_BYTES_MAX} bytes")
    except trio.TooSlowError:
        raise TransportError(f"no answer in {DEADLINE_S:g} s") from None
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as failure:
        raise LocalError(f"{failure}: check `url`") from None
    except httpx.HTTPError as failure:
        raise TransportError(str(failure) or type(failure).__name__) from None
    status = answer.status_code
    if status >= 500 or status in CODES_TO_RETRY:
        raise TransportError(f"it answered HTTP {status}")
    if status != 200:
        raise LocalError(f"it answered HTTP {status}: check `url`")
    return bytes(body)
