"""How faces degrade: forward models, and what a JPEG tells of itself."""
