"""How bytes reach another agent: the transport seam, libp2p behind it, the messages over it.

Invariant: whatever arrives, the answer is a typed refusal or a closed stream; no handler's
error reaches the carrier, no peer can grow a queue without bound.  `transport` is the seam,
`framing` and `messages` are pure, and libp2p is imported by `libp2p_transport` and
`libp2p_faults` alone.
"""
