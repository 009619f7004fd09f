"""Parts of the admin pages: table, tree and chart."""
