"""``python -m mediaref_ursa`` is the command ``mediaref-ursa``."""

from mediaref_ursa._cli.main import main

if __name__ == "__main__":
    main(prog_name="mediaref-ursa")
