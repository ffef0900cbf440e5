"""Scorers and sources in, latency tables and plots out."""
