"""The pages that people use: the top layer, on the apps' services and selectors."""
