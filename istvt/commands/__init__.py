"""Implement the commands, one module each: parse options, call the library, print results."""
