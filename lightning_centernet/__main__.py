"""Run `python -m lightning_centernet <command>`."""

from lightning_centernet.cli import main

if __name__ == "__main__":
    main()
