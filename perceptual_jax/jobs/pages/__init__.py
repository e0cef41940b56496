"""Pages to look at: the report of a job, and preference studies of two folders."""
