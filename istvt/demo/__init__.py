"""Run the whole product once, from clips to latency, and write a page about it."""
