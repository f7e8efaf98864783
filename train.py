"""Trains a model; `python train.py --help` says how."""

from diffwave_jax.commands.train import command

if __name__ == "__main__":
    command()
