"""Turns results into tables and pictures."""
