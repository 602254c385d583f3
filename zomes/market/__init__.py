"""Orders: who would buy or sell energy in an interval, and at what price, for all to see."""
