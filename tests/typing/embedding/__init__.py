"""A site that embeds sessionstores, for type checkers alone: never imported or run.

`test_checkers.py` copies it out of this repository and has each checker judge it, in an
environment that has the package and what it needs, and no stubs of Django.
"""
