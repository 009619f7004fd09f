"""Typed state: declaration, actions, stored form, patches and revisions; no Django."""
