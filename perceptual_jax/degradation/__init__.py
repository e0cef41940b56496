"""Forward models of degradations, and the headers of JPEGs."""
