"""Who owns which device, as the owner and the device both say it."""
