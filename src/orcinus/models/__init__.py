"""The models that answer requests: remote, on this machine, recorded, or functions."""
