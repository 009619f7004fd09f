"""Sessions: their lifecycle, presence, and the sweep of idle ones."""
