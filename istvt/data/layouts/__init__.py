"""Read each known data set layout into a manifest of labelled videos."""
