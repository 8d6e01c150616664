"""The report of a run: what its steps found, as plain facts, and as pages of HTML and Markdown."""
