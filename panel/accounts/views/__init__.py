"""Pages of people and accounts, one module per place."""
