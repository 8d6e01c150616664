"""The viewer: a small server for this machine only, which reads run folders and writes to none."""
