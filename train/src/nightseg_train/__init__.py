"""Offline trainer of nightseg: networks, losses, training, export to a bundle that the runtime reads."""
