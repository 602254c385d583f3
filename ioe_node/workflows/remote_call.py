"""Remote calls: a zome function of another agent, run there under what that agent has granted.

The caller may not have written anything yet: no chain is held while a peer is waited for, so
two agents whose functions call each other cannot lock each other's chain.  The depth travels
along, so such a pair comes to an end, and the callee gives up when the caller does.  What the
function or its grants refuse is an answer, not a fault of the asker's: it is not charged.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from ioe_node.errors import Busy, CallError, IoeError, Malformed, Refused
from ioe_node.hdi import AgentPubKey
from ioe_node.model.codec import pack, unpack
from ioe_node.net.link import code_of
from ioe_node.net.messages import CALL_BYTES_MAX, CALL_DEPTH_MAX, Call, Failed, Returned
from ioe_node.net.transport import REQUEST_TIMEOUT_S
from ioe_node.workflows.space import Space

FAILURE_CHARS_MAX = 1_024

Run = Callable[[AgentPubKey, Call, Mapping[str, Any]], Awaitable[Any]]
"""`run(caller, call, payload)`: what runs a function here (`call_zome.runner_for_peers`)."""


async def call_remote(
    space: Space,
    agent: AgentPubKey,
    zome: str,
    function: str,
    payload: Mapping[str, Any],
    secret: bytes | None,
    depth: int,
) -> Any:
    """What `agent` returns; see `hdk.Host.call_remote`."""
    if depth > CALL_DEPTH_MAX:
        raise CallError(f"zome calls nested deeper than {CALL_DEPTH_MAX}")
    try:
        packed = pack(dict(payload))
    except Malformed as error:
        raise CallError(f"a payload that cannot be sent: {error}") from None
    if len(packed) > CALL_BYTES_MAX:
        raise CallError(f"a payload of {len(packed)} bytes, at most {CALL_BYTES_MAX}")
    answer = await space.ask(agent, Call(zome, function, packed, secret, depth))
    if isinstance(answer, Failed):
        raise Refused(answer.code, answer.text)
    if not isinstance(answer, Returned):
        raise Malformed("a call answered by something else than what it returned")
    return unpack(answer.value)


async def serve(run: Run, caller: AgentPubKey, call: Call) -> Returned | Failed:
    """Answer a peer's call; raises `Malformed` for a payload that is no packed map, or `Busy`."""
    payload = unpack(call.payload)
    if not isinstance(payload, dict):
        raise Malformed("a payload that is no map")
    with trio.move_on_after(REQUEST_TIMEOUT_S):
        try:
            value = pack(await run(caller, call, payload))
            if len(value) > CALL_BYTES_MAX:
                raise CallError(f"a result of {len(value)} bytes, at most {CALL_BYTES_MAX}")
        except Busy:
            raise
        except IoeError as error:
            return Failed(code_of(error), str(error)[:FAILURE_CHARS_MAX])
        return Returned(value)
    raise Busy(f"{call.zome}.{call.function} took longer than a caller waits")
