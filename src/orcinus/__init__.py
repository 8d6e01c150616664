"""orcinus: teach a small model to reason with the strategy that works best for it.

The nouns are in ``orcinus.types``, the extension points in ``orcinus.protocols``, the commands in ``orcinus.cli``.
"""

__version__ = "0.2.0"
