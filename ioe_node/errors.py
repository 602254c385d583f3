"""Whose fault was it?  Three families answer, and every error of the node is in one of them.

`LocalError`: ours, or this machine's or this user's: say what to do, do not retry.
`PeerError`: a peer sent what it must not: refuse it and charge the peer.
`TransportError`: nobody's: a link is down or slow: try again later.

An error's text is one line for a person and says what to do next.  Validation outcomes are
values (`ioe_node.hdi.Verdict`), never exceptions.
"""


class IoeError(Exception):
    """The root of every error that the node raises on purpose."""

    exit_code = 1


class LocalError(IoeError):
    """We, or this machine, erred; retrying will not help."""

    exit_code = 1


class PeerError(IoeError):
    """A peer sent what it must not; it is refused and charged."""

    exit_code = 3


class TransportError(IoeError):
    """A peer or device cannot be reached or was too slow; try again."""

    exit_code = 4


class ConfigError(LocalError):
    """The configuration cannot be used; the text names the key and the mend."""


class StoreError(LocalError):
    """The disk refused or returned what was never written."""


class DiskFull(StoreError):
    """No space: nothing was written, nothing was lost; free space and call again."""


class ChainBroken(StoreError):
    """A stored chain fails its own hashes or signatures; the text names the action."""


class AnotherContinuation(StoreError):
    """Other nodes hold another continuation of our chain: an older copy was written to."""


class CallError(LocalError):
    """A zome call was refused before anything was written."""


class RuleBroken(CallError):
    """The DNA's rules refuse what the call would commit; nothing was written."""


class Unauthorised(CallError):
    """The caller holds no capability for this function."""


class AgainstPolicy(CallError):
    """The policy of a device's owner does not allow it."""


class KeystoreLocked(LocalError):
    """The passphrase does not open the key store."""


class PairingRefused(PeerError):
    """The pairing code is wrong, spent, or the device is already owned."""


class Membrane(PeerError):
    """This network does not have the peer, or has it no more; the code at a link's opening."""


class Malformed(PeerError):
    """Bytes that do not decode to what they claim to be."""


class Refused(PeerError):
    """The peer answered our request with an error; `code` says which."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class Busy(TransportError):
    """The peer is in the middle of another settlement or its queue is full; try again."""


class Shunned(PeerError):
    """The peer misbehaved of late; it is answered again when that has been forgotten."""
