"""The backend over a compare-and-set primitive: LocMem, memcached, the database."""
