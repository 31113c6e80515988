"""The command line of the engine: ``python -m backups.engine``.  It needs no panel and no database."""
