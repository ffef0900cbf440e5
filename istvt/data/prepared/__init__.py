"""Turn videos once into shards of face crops, in a folder that later runs read."""
