"""Pages of restores and downloads."""
