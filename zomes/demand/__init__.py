"""Demand management: draw less while power is dear, prove it, and be paid for it (I-122, I-130 to
I-132, I-093).

`decide` says when to switch (pure), `app` does it on the device's own node, `integrity` says what
a proven reduction is, `coordinator` claims one and pays for one.
"""
