"""Who may be in a community: invitations by stewards, vouching by owners."""
