"""Measure the latency of a bundle's backends, and show it in tables and charts."""
