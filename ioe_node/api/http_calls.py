"""What the control socket answers about the API: tokens, and the page's address."""

import secrets
from typing import TYPE_CHECKING, Any, cast

from ioe_node.api.http_tokens import TOKEN_BYTES, Scope, Tokens, shown
from ioe_node.conductor.calls import CALLS
from ioe_node.errors import CallError

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

SERVED_AS = "http"
"""The name of our address among what a node serves."""
EXPIRY_US_MAX = 10 * 365 * 86_400 * 1_000_000
PAGE_MAY: tuple[Scope, ...] = ("read", "control", "pay", "admin")
PAGE_TOKEN_US = 12 * 3_600 * 1_000_000
PAGE_TOKENS_MAX = 16


async def api_token_create(
    conductor: "Conductor", name: str, may: list[str], expires_us: int | None = None
) -> dict[str, Any]:
    """Make a token; it is shown this once.  `expires_us` counts from now."""
    if expires_us is not None and not (type(expires_us) is int and 0 < expires_us <= EXPIRY_US_MAX):
        raise CallError("a token ends after 1 microsecond to 10 years, or never")
    scopes = tuple(cast(Scope, str(each)) for each in may)
    secret = secrets.token_bytes(TOKEN_BYTES)
    token = Tokens(conductor).create(str(name), scopes, expires_us, secret)
    return {"name": name, "token": token}


async def api_token_list(conductor: "Conductor") -> list[dict[str, Any]]:
    """The tokens that may be used, without what they open with."""
    return list(shown(Tokens(conductor).kept()))


async def api_token_revoke(conductor: "Conductor", name: str) -> dict[str, Any]:
    """End a token."""
    Tokens(conductor).revoke(str(name))
    return {"name": name}


async def api_page(conductor: "Conductor") -> dict[str, Any]:
    """Where the page is, with a fresh token behind the `#`, where no server and no log sees it.

    A page's token ends after half a day; of those that still live, the oldest ends for the
    newest.
    """
    url = conductor.serves.get(SERVED_AS)
    if url is None:
        raise CallError("this node serves no page; set http in [api] in its config")
    tokens = Tokens(conductor)
    pages = [each.name for each in tokens.kept() if each.name.startswith("page ")]
    for name in pages[: max(0, len(pages) - PAGE_TOKENS_MAX + 1)]:
        tokens.revoke(name)
    name = f"page {secrets.token_hex(4)}"
    token = tokens.create(name, PAGE_MAY, PAGE_TOKEN_US, secrets.token_bytes(TOKEN_BYTES))
    return {"url": f"{url}/#token={token}", "token": token}


def offer() -> None:
    """Answer these from now on."""
    for each in (api_token_create, api_token_list, api_token_revoke, api_page):
        CALLS[each.__name__] = each
