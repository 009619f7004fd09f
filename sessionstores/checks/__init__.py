"""System checks: settings, and how the site is deployed."""
