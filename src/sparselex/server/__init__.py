"""Reads artifacts and renders pages: a page is its JSON made visible."""
