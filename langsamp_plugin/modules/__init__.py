"""The parts of the method that are plain torch, so that other trainers can use them."""
