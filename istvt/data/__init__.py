"""Videos on disk in, labelled windows of face crops out."""
