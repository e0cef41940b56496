"""How faces degrade: corruptions that make inputs, and data terms that explain them."""
