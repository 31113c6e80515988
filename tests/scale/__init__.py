"""Large volumes in PostgreSQL."""
