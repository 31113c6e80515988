"""The job machine on real parts: processes, brokers, databases."""
