"""The restoration itself, pure: data terms, objective, the search of one image, batches."""
