"""Files of others, read without executing anything of them."""
