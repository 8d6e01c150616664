"""Evaluation: how good a student is, compared with itself before training and with its teacher."""
