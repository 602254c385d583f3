"""What agents say of each other and can take back: claims, credentials, who answers for whom.

A claim shows the names of its fields and hides their values, which its subject reveals one by
one.  Whatever is said of an agent is found at that agent's key.
"""
