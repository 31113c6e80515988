"""What pages of other rooms show of backups."""
