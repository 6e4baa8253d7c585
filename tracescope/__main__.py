"""`python -m tracescope`."""

from tracescope.cli import main

if __name__ == "__main__":
    main(prog_name="tracescope")
