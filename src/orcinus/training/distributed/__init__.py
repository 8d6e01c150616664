"""Training in several processes: launch them, be one of them, know which one."""
