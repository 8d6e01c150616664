"""Diagnosis: which lessons a trained student still fails, why, and what to do next."""
