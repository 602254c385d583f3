"""The owner's policy: one TOML file that says what devices may do, with whom, and what by
themselves.

The file is the policy: its text is what the owner signs, what travels (in the pairing grant, or
later to each device), and what `ioe policy show` prints.  It has a version; on a device an older
one never replaces a newer one of the same owner.  A device without an owner lives by `FACTORY`.
All here is pure.  (I-046, I-049, I-050, I-121)
"""

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from ioe_node.errors import LocalError, Malformed, PeerError
from ioe_node.hdi import AgentPubKey
from ioe_node.model.codec import Codec, encode
from ioe_node.model.hashes import AGENT, CORE, check_hash, from_text, to_text
from ioe_node.model.signing import Signer, verify

POLICY_CHARS_MAX = 12_000
SEALED_BYTES_MAX = 16 * 1024
DEVICES_MAX = 256
NAMES_MAX = 256
APPS_MAX = 16
VERSION_MAX = 2**53
_DOMAIN = b"ioe policy 1\x00"

SELL = "currency.sell"
SALE = "currency.sale"
KEEP = "market.keep"

Whom = Literal["nobody", "portfolio", "members"]
Circle = Literal["owner", "portfolio", "members"]
"""What an agent is to a device: its owner, another of the owner's devices, or a mere member."""


class PolicyError(LocalError):
    """A policy file cannot be used; the text names the key and what fits."""


class StalePolicy(PeerError):
    """A newer policy of the same owner is in force."""


class Automatic(Struct, frozen=True, forbid_unknown_fields=True):
    """What a device does without being asked."""

    sell: bool = True
    buy: bool = True
    hold: bool = True
    relay: bool = True
    other: bool = True


class Deals(Struct, frozen=True, forbid_unknown_fields=True, rename={"whom": "with"}):
    """With whom it settles; `never` are agent keys."""

    whom: Whom = "members"
    never: Annotated[tuple[str, ...], Meta(max_length=NAMES_MAX)] = ()


class Calls(Struct, frozen=True, forbid_unknown_fields=True):
    """Who may use the capabilities that it grants; `closed` are zomes or zome.functions."""

    by: Circle = "members"
    closed: Annotated[tuple[str, ...], Meta(max_length=NAMES_MAX)] = ()


class Rules(Struct, frozen=True, forbid_unknown_fields=True):
    """What one device lives by."""

    visibility: Literal["public", "private"] = "public"
    automatic: Automatic = Automatic()
    deals: Deals = Deals()
    calls: Calls = Calls()
    apps: Annotated[dict[str, dict[str, Any]], Meta(max_length=APPS_MAX)] = {}


FACTORY = Rules(
    automatic=Automatic(False, False, False, False, False),
    deals=Deals("nobody"),
    calls=Calls("owner"),
)
FACTORY_TEXT = """\
# The factory policy of a device without an owner.  Nobody can change it; an owner replaces it.
# It answers: its card (kind, name, addresses, "unowned") and pairing by its code.
# It detects: the cards of others on its network and of the peers that its config names.
# It engages with: nobody.  It is in no community, keeps no chain, deals with nobody and runs no
# function for anybody until it is claimed.
"""

TEMPLATE = """\
# What my devices may do, with whom, and what they do by themselves.
# Put in force with: ioe policy set FILE.  Raise the version with every change.
version = 1

# "public": a device announces its name and kind; "private": nothing that a stranger can follow.
visibility = "public"

# What a device does without being asked.
[automatic]
# Sell what it exports, and buy what it imports, inside the community.
sell = true
buy = true
# Hold its share of what others write (from the next start of its cells), and vote on the market
# where its share says so.
hold = true
# Pass on messages for others that cannot reach each other.
relay = true
# Whatever else its config has it do again and again, and what its apps switch.
other = true

# With whom it settles: "members" of the community, my own "portfolio", or "nobody".
[deals]
with = "members"
# Agent keys with whom it never does.
never = []

# Who may use the functions that a device has granted: "members", my "portfolio", or only the
# "owner".  No more than was granted is ever allowed.
[calls]
by = "members"
# Functions ("zome.function") or whole zomes that only the owner may use.
closed = []

# Settings of the smart energy apps that devices run (see: ioe app list).
# [apps.demand]
# over_average_percent = 30

# For one device, by its name or its agent key, only what differs:
# [device."south roof".automatic]
# sell = false
"""


class Policy(Struct, frozen=True):
    """A file as read: `devices` has the rules of those that differ, by name or agent key."""

    version: int
    rules: Rules
    devices: dict[str, Rules]

    def rules_of(self, name: str, agent: AgentPubKey) -> Rules:
        """What a device lives by; its key goes before its name."""
        return self.devices.get(to_text(agent)) or self.devices.get(name) or self.rules


def parse_policy(text: str) -> Policy:
    """The policy of a TOML text; raises `PolicyError`."""
    if len(text) > POLICY_CHARS_MAX:
        raise PolicyError(f"a policy has at most {POLICY_CHARS_MAX} characters")
    try:
        read = tomllib.loads(text)
        devices = msgspec.convert(read.pop("device", {}), dict[str, dict[str, Any]])
        version = msgspec.convert(
            read.pop("version", None), Annotated[int, Meta(ge=1, le=VERSION_MAX)]
        )
        rules = _rules(read)
        own = {name: _rules(_merged(read, differs)) for name, differs in devices.items()}
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError, ValueError) as error:
        raise PolicyError(f"this is no policy: {error}; see 'ioe policy show'") from None
    if len(own) > DEVICES_MAX:
        raise PolicyError(f"a policy names at most {DEVICES_MAX} devices")
    return Policy(version, rules, own)


def _rules(read: Mapping[str, Any]) -> Rules:
    rules = msgspec.convert(read, Rules)
    for text in rules.deals.never:
        try:
            from_text(text, AGENT)
        except Malformed:
            raise PolicyError(f"deals.never: '{text[:60]}' is no agent key") from None
    return rules


def _merged(whole: Mapping[str, Any], differs: Mapping[str, Any]) -> dict[str, Any]:
    """`whole` with what differs, table by table."""
    merged = dict(whole)
    for key, value in differs.items():
        before = merged.get(key)
        both = isinstance(before, dict) and isinstance(value, dict)
        merged[key] = _merged(before, value) if both and before else value
    return merged


class _Sealed(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A policy's text, whose it is, and that owner's signature."""

    owner: AgentPubKey
    text: str
    signature: bytes


_sealed: Codec[_Sealed] = Codec(_Sealed, "policy", SEALED_BYTES_MAX)


def seal_policy(owner: Signer, text: str) -> bytes:
    """The signed bytes of a policy; raises `PolicyError` for a text that is none."""
    parse_policy(text)
    sealed = encode(_Sealed(owner.agent, text, owner.sign(_DOMAIN + text.encode())))
    if len(sealed) > SEALED_BYTES_MAX:
        raise PolicyError(f"a policy has at most {SEALED_BYTES_MAX} bytes when it is signed")
    return sealed


@lru_cache(maxsize=4)
def open_policy(data: bytes, owner: AgentPubKey | None = None) -> tuple[Policy, str]:
    """The policy of signed bytes and its text.

    Raises `Malformed` if it is not `owner`'s, or anybody's at all.  Without `owner` it is for
    what was accepted before: an owner whose key has changed since has still said it.
    """
    sealed = _sealed.decode(data)
    check_hash(sealed.owner, AGENT)
    if owner not in (None, sealed.owner):
        raise Malformed("a policy of somebody who is not the owner")
    if not verify(sealed.owner[CORE], _DOMAIN + sealed.text.encode(), sealed.signature):
        raise Malformed("a policy whose signature is not its owner's")
    try:
        return parse_policy(sealed.text), sealed.text
    except PolicyError as error:
        raise Malformed(str(error)) from None


def newer_policy(data: bytes, held: bytes, owner: AgentPubKey) -> Policy:
    """The policy of `data`, `owner`'s, which may replace `held` (b"" for none).

    Raises `Malformed`, or `StalePolicy` unless it is newer or says the very same.  What an earlier
    key of the owner's said binds the next key to nothing: a thief would have counted to the end.
    """
    policy, text = open_policy(data, owner)
    if held and _sealed.decode(held).owner == owner:
        before, text_before = open_policy(held)
        if text != text_before and policy.version <= before.version:
            raise StalePolicy(
                f"policy version {before.version} is in force, and {policy.version} does not "
                f"replace it: give it version {before.version + 1} or higher"
            )
    return policy


def why_no_call(rules: Rules, caller: Circle, zome: str, function: str) -> str:
    """Why `caller` may not call a function, or nothing."""
    if caller == "owner":
        return ""
    if {zome, f"{zome}.{function}"} & set(rules.calls.closed):
        return f"{zome}.{function} is closed to all but the owner"
    if rules.calls.by == "members" or rules.calls.by == caller:
        return ""
    return f"only the {rules.calls.by} may call functions of this device"


def why_no_deal(rules: Rules, circle: Circle, other: AgentPubKey, draft: str, by_us: bool) -> str:
    """Why a settlement with `other` may not be, or nothing; `by_us` if this device proposes it."""
    if to_text(other) in rules.deals.never:
        return "this device never deals with that agent"
    if rules.deals.whom == "nobody":
        return "this device deals with nobody"
    if rules.deals.whom == "portfolio" and circle == "members":
        return "this device deals only with its owner and the owner's devices"
    if draft == SALE and not (rules.automatic.sell if by_us else rules.automatic.buy):
        return f"this device does not {'sell' if by_us else 'buy'} by itself"
    return ""


def runs_by_itself(rules: Rules, zome: str, function: str) -> bool:
    """Whether a device's schedule may call this function.

    Who holds a share of what others write votes on the markets in it.
    """
    asked = {SELL: rules.automatic.sell, KEEP: rules.automatic.hold}
    return asked.get(f"{zome}.{function}", rules.automatic.other)
