"""Stores: records, transactions, retry and removals."""
