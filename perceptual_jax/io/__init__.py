"""Files in and out: reading images, collecting inputs, writing atomically, here or in a store."""
