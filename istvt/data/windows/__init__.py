"""Turn shards into training and evaluation samples: windows of T consecutive faces."""
