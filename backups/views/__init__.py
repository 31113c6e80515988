"""The pages under Backups."""
