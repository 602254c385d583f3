"""Certificates of origin: what made a kilowatt-hour, who held it, and how it ended.

Each agent's ledger of certificates is its own chain, step by step, as its credit is: so no energy
is counted twice, and anyone can follow a kilowatt-hour from panel to socket.  `holdings` is the
arithmetic, pure and exact; `integrity` makes it a rule of the DNA.  `coordinator` keeps our own
ledger, on a schedule; `ledger` reads anybody's, `life` tells what became of a certificate, `audit`
adds all up, and `views` answers questions.  What a kilowatt-hour is worth is `currency.value`.
"""
