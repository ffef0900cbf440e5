"""The whole product once over: clips, training, export, stream, bench, and a page about it."""
