"""The CNNs that a map is put into, and the local attention it is compared with."""
