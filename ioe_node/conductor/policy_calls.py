"""What the control socket answers of the policy."""

from typing import TYPE_CHECKING, Any

import msgspec

from ioe_node.conductor.policy import FACTORY_TEXT, TEMPLATE, PolicyError, StalePolicy, seal_policy
from ioe_node.errors import CallError

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor


async def policy_show(conductor: "Conductor") -> dict[str, Any]:
    """The file in force, and what it comes to for this node.

    `source` is "owner", "factory", or "default" where no file was ever set.
    """
    text, source = conductor.policy.text, "owner"
    if not text:
        factory = conductor.role == "unowned"
        text, source = (FACTORY_TEXT, "factory") if factory else (TEMPLATE, "default")
    rules = msgspec.to_builtins(conductor.policy.rules)
    return {"source": source, "text": text, "rules": rules}


async def policy_set(conductor: "Conductor", text: str) -> dict[str, Any]:
    """Sign a new version and give it to every device that is enrolled from now on."""
    if conductor.role != "owner":
        raise CallError("only an owner's node has a policy to set; a device gets its owner's")
    try:
        version = conductor.policy.replace(seal_policy(conductor.signer(), text))
    except (PolicyError, StalePolicy) as error:
        raise CallError(str(error)) from None
    return {"version": version}
