"""The commands without their scripts: python -m diffwave_jax sample|train|evaluate|convert|demo [OPTIONS]."""

import importlib
import sys

COMMANDS = ("sample", "train", "evaluate", "convert", "demo")


def main() -> None:
    """Runs the command that the first word names, on the words after it."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in COMMANDS:
        sys.argv[:2] = [f"python -m diffwave_jax {name}"]
        importlib.import_module(f"diffwave_jax.commands.{name}").command()
        return
    if name in ("-h", "--help"):
        print(__doc__)
        return
    said = f"no command is called {name!r}" if name else "no command"
    print(f"error: {said}: there are {', '.join(COMMANDS)}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
