"""The files of a run: the ledger (SQLite), the tables between steps (Parquet), and its folders."""
