"""The HTTP service and its playground page."""
