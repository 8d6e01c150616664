"""A run in the browser: a small server for this machine alone, which reads run folders and writes to none."""
