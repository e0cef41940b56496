"""The prior: how close the styles of a search stay to what the generator's mapping produces."""
