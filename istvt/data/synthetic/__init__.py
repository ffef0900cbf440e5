"""Make labelled clips without labelled data: talking heads, and fakes blended from real frames."""
