"""Data folders in, lists of labelled videos out: one module a layout."""
