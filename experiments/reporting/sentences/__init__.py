"""TODO: one line and the public names of this folder."""
