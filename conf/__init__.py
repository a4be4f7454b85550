"""The Hydra configs. This file makes the folder a package, so that `pkg://lightning_centernet.conf` finds it."""
