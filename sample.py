"""Makes clips; `python sample.py --help` says how."""

from diffwave_jax.commands.sample import command

if __name__ == "__main__":
    command()
