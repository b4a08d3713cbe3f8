"""k-means over feature arrays."""
