"""What others ask us, as a holder of their keys, to consent to; over the network.

A member of a community of ours sends a request and is told the consents that we have given to it
so far: none, until somebody signs here.  Asking again collects them.  What is asked is kept on the
disk, a few of each and a few of all: whoever is asked too much decides or drops something first.
"""

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from ioe_node.conductor.consents import ConsentRequest, content_of, signed, signers_of
from ioe_node.errors import Busy, CallError, LocalError, Malformed, Membrane, StoreError
from ioe_node.hdi import AgentPubKey, Consent
from ioe_node.model.hashes import CORE, core_of
from ioe_node.model.signing import Signer

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

ASKED_MAX = 32
ASKED_BY_ONE_MAX = 4
ID_BYTES = 4


class Asked(Struct, frozen=True):
    """One request: its id, who asks since when, and the file with our consent once it is given."""

    id: str
    by: bytes
    at_us: int
    request: ConsentRequest


def asked_of_us(conductor: "Conductor") -> list[Asked]:
    """What we are asked, oldest first."""
    path = conductor.home.path / "asked.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Asked])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        raise StoreError(f"{path} cannot be read: {error}; delete it to be asked anew") from None


def _keep(conductor: "Conductor", asked: list[Asked]) -> None:
    conductor.home.write(conductor.home.path / "asked.json", msgspec.json.encode(asked))


def consider(
    conductor: "Conductor", peer: AgentPubKey, request: ConsentRequest
) -> tuple[Consent, ...]:
    """Keep a member's request until somebody here decides; our consents to it so far.

    Raises `Membrane` for a stranger's, `Malformed` for one that is not ours to sign, `Busy` when
    too much is asked.
    """
    cell = conductor.cell_of(request.network)
    if cell is None or peer not in cell.space.others():
        raise Membrane("only a member of a community of ours asks for our consent")
    ours = Signer(conductor.keystore.secrets["authorisation"]).agent[CORE]
    try:
        content_of(request)
    except LocalError as error:
        raise Malformed(str(error)) from None
    if ours not in request.keys:
        raise Malformed("our key is not among those asked")
    asked = asked_of_us(conductor)
    for each in asked:
        if each.request.message == request.message and each.by == peer:
            mine = request.keys.index(ours)
            return tuple(one for one in each.request.consents if one.index == mine)
    if len(asked) >= ASKED_MAX or sum(each.by == peer for each in asked) >= ASKED_BY_ONE_MAX:
        raise Busy("this holder has too many requests to decide on; try again later")
    id_ = core_of(request.message)[:ID_BYTES].hex()
    if any(each.id == id_ and each.request.message != request.message for each in asked):
        # Whoever asks can make two of one short id, and have the one signed for the other.
        raise Busy("another request has the same id here; it must be decided on first")
    bare = msgspec.structs.replace(request, consents=())
    _keep(conductor, [*asked, Asked(id_, peer, conductor.clock.now_us(), bare)])
    conductor.signals.emit({"kind": "request", "id": id_, "by": peer, "deed": request.deed})
    return ()


def find(conductor: "Conductor", id_: str) -> Asked:
    """The request of an id; raises `CallError`."""
    for each in asked_of_us(conductor):
        if each.id == id_:
            return each
    raise CallError(f"nobody asks us for '{id_[:20]}'; see 'ioe key requests'")


def decide(conductor: "Conductor", id_: str, root: bytes | None) -> ConsentRequest:
    """Consent to a request; who asked collects it."""
    found = find(conductor, id_)
    done = signed(found.request, signers_of(conductor, root))
    asked = [
        msgspec.structs.replace(each, request=done) if each == found else each
        for each in asked_of_us(conductor)
    ]
    _keep(conductor, asked)
    return done


def drop(conductor: "Conductor", id_: str) -> None:
    """Forget a request, decided or not."""
    found = find(conductor, id_)
    _keep(conductor, [each for each in asked_of_us(conductor) if each != found])
