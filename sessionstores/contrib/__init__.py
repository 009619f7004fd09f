"""Integrations with other packages: imported only where a site's settings name them."""
