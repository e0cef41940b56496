"""What several tests share: narrow networks, pictures, files of others, jobs."""
