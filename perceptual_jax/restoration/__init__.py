"""The restoration itself: objective, search of one image, batches, and jobs of many files."""
