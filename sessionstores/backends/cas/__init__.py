"""The backend over a key-value store: LocMem, memcached and the database."""
