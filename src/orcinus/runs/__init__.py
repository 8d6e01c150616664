"""What outlives a run: the ledger (SQLite) and the tables between steps (Parquet)."""
