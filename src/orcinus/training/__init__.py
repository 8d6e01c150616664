"""The student learns: lessons become tokens, packed rows, and optimizer steps under an objective.

train.py ─► curriculum.py ─► trainer.py ─► forward.py ─► objectives/
create.py ─► scratch_model.py
"""
