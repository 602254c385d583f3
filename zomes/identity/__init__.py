"""Who owns which device, and by which keys: as owners, devices and key-holders say it.

Entries and rules stand in `integrity`.  What may take key-holders' consents is made in `deeds`,
the keys that an agent has had are read in `history`; `coordinator` is what clients call.
"""
