"""Views of the admin pages."""
