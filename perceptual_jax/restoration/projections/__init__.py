"""What the search leaves unexplained, given back to the picture at its end."""
