"""The backend on Redis and Valkey: one Lua script for each step."""
