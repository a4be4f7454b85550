"""CenterNet, CenterTrack and CenterFusion as one PyTorch Lightning package."""
