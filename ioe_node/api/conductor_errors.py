"""Our errors as Holochain's clients know them: a name of their list, and our text.

`internal_error`, `deserialization`, `dna_read_error`, `ribosome_error`,
`zome_call_authentication_failed`, `zome_call_unauthorized`, `countersigning_session_error`.
"""

from ioe_node.api.conductor_auth import NotAuthentic
from ioe_node.api.conductor_bundle import BundleError
from ioe_node.errors import CallError, Malformed, RuleBroken, Unauthorised


class ZomeFailed(CallError):
    """A zome function refused; nothing was written."""


class NoSession(CallError):
    """There is no countersigning session to decide on."""


NAMES: tuple[tuple[type[Exception], str], ...] = (
    (NotAuthentic, "zome_call_authentication_failed"),
    (Unauthorised, "zome_call_unauthorized"),
    (BundleError, "dna_read_error"),
    (NoSession, "countersigning_session_error"),
    (ZomeFailed, "ribosome_error"),
    (RuleBroken, "ribosome_error"),
    (Malformed, "deserialization"),
)


def error_value(error: Exception) -> dict[str, str]:
    """The `value` of an answer of type `error`."""
    name = next((name for kind, name in NAMES if isinstance(error, kind)), "internal_error")
    return {"type": name, "value": str(error)}
