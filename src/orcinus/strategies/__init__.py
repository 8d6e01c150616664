"""Strategies: ways to reason, as system messages, and the choice of the one for a student."""
