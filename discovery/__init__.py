"""How agents and devices find each other, and how a device finds its owner.

What is told is an `announcement`: a signed, expiring card of one agent; a private device's is
`hidden` from all but its owner.  `mdns` tells it to the local network and hears the neighbours',
in the form of `mdns_services`; `meeting` tells it too to the addresses that the owner or the maker
wrote into the configuration, keeps who is near, has `presence` find out who has gone, and holds
both sides of `pairing`: the conversation by which an owner who has read the code on a device takes
it into the portfolio.

One invariant: nothing heard is believed beyond its signature.  An announcement says where an
agent can be dialled; who answers there is proved by the transport, and whose device it is by
the pairing code.  `announcement`, `hidden`, `presence` and `pairing` are pure; the node reaches
this package only by the names in its configuration, and this package knows of the node only its
keys, errors and clock.
"""
