"""Data sets in, manifests of their labelled videos out: one module a layout, `choose` for any."""
