"""Lessons: select and explain examples, curate the traces and erase their prompts."""
