"""How bytes reach another agent: the transport seam, libp2p behind it, the messages over it.

Invariant: whatever arrives, the answer is a typed refusal or a closed stream; no handler's
error reaches the carrier, no peer can grow a queue without bound.  `transport` is the seam,
`framing` and `messages` are pure, and libp2p is imported by the `libp2p_` modules alone.

Members talk over links (`link`), behind the membrane.  Beside them any libp2p peer may take part
in peer routing: `kad` is that conversation, `kad_messages` its wire format, `foreign_peers` who
they are; the last two are pure.
"""
