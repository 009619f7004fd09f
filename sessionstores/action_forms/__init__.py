"""Forms that call an action of a store by POST, without a script."""
