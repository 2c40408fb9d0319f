"""``python -m locality``."""

from locality.cli import main

if __name__ == "__main__":
    main()
