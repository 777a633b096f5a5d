"""Reads about tasks that the API and the pages share; they return frozen dataclasses."""
