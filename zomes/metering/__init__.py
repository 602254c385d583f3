"""Interval readings of devices: what was imported and exported, and when."""
