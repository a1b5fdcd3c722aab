"""Renderings of analyses for people."""
