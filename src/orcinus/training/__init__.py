"""Lessons to a student: rendering, packing, the loss, the trainer."""
