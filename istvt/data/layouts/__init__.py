"""Read known data set layouts into a manifest of labelled videos."""
