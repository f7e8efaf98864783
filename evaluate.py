"""Evaluates spoken digits; `python evaluate.py --help` says how."""

from diffwave_jax.commands.evaluate import command

if __name__ == "__main__":
    command()
