"""The log in S3, as Parquet: history outlives what topics keep."""
