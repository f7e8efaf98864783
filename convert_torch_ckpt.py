"""Converts checkpoints of the original PyTorch code, and back; `python convert_torch_ckpt.py --help` says how."""

from diffwave_jax.commands.convert import command

if __name__ == "__main__":
    command()
