"""Tasks whose rows a model writes: what it writes about, how it is asked, how replies are read.

The step that asks is ``tasks/author.py``.
"""
