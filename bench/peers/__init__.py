"""Striate beside its peers: what `bench/peers.py` is made of."""
