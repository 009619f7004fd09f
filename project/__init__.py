"""The demo site: a card-sorting workshop in three steps, built on sessionstores."""
