"""Turn videos into shards of face crops, once, in a folder that later runs read."""
