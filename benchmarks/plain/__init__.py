"""The originals' formulas in the plainest PyTorch and numpy, written from the formulas: the yardstick."""
