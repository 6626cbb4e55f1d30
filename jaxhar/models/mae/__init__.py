"""Video and image masked autoencoders."""
