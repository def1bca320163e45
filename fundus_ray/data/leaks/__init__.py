"""Keeping benchmark images, and copies of one image, out of where they must not be.

image -> fingerprint.py (512 bits) -> neighbours.py (which are near) -+
path  -> names.py (which image of which set, which patient) ----------+-> guard.py -> leaks, with the reason
"""
