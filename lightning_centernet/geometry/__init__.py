"""Geometry of images, boxes and heat maps, as pure functions on tensors."""
