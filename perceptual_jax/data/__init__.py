"""Clean pictures and what they degrade to, to train on."""
