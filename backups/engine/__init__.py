"""The snapshot engine: chunked, deduplicated, compressed, encrypted, in restic's repository format."""
