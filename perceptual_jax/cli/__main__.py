"""`python -m perceptual_jax.cli`: the command `perceptual-jax`."""

from perceptual_jax.cli import program

if __name__ == "__main__":
    program()
