"""Views: each validates, calls one service or reads selectors, and shapes the answer."""
