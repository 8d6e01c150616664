"""Questions that a program draws: new ones on every machine, each with its right answer.

``procedural`` holds the table of built-in generators and the recipe's ``{generator: …}`` tasks.
``generator`` says what a generator is; ``short`` and ``bbh`` hold the built-in ones. ``gym`` and
``gym_verifier`` draw and judge the tasks of reasoning-gym, and ``function`` reads tasks from a
function of the user.
"""
