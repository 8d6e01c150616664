"""Tasks from files: rows in many formats and layouts become Examples.

``sources`` finds and opens files, and ``rows`` reads their rows. ``layouts`` and ``examples`` turn
a row into an Example. ``records`` puts these together for a recipe's task. ``columns`` guesses a
column mapping, and ``hub`` reads Hugging Face data sets.
"""
