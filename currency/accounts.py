"""Where accounts stand, as the chains that are here say."""

from currency.integrity import Carried, Settlement, account_after
from currency.ledger import Account
from ioe_node.hdk import AgentPubKey, CallError, Found, Host


async def standing(host: Host, agent: AgentPubKey) -> tuple[Found | None, Account]:
    """(last settlement, or what the account began with; account) of an agent."""
    for entry_type in (Settlement, Carried):
        newest = await host.query(entry_type, author=agent, limit=1)
        if newest:
            return newest[0], account_of(newest[0])
    return None, Account()


def account_of(found: Found) -> Account:
    """Where its author's account is after a settlement, or what it began with."""
    if isinstance(found.entry, Carried):
        carried: Account = found.entry.account
        return carried
    own = [each for each in found.entry.parties if each.agent == found.action.author]
    if not own:
        raise CallError("a settlement of other parties")
    return account_after(found, own[0])
