"""Data sets: what many recordings of many hosts add up to, as Parquet that query engines read."""
