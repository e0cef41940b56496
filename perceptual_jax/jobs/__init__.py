"""Work on folders of files: the job of restoring them, by one process or many; smaller verbs."""
