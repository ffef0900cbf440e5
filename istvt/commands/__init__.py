"""One module for each group of commands: options in, the parts called, results printed."""
