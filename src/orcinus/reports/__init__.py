"""The report of a run: its facts, rendered as a page, a summary, JSON and a model card."""
