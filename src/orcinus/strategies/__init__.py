"""Ways to reason, as system messages, and the choice of the one that suits the student."""
