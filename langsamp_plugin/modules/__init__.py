"""The parts of the method in plain torch, usable by other trainers."""
