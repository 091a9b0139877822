"""What makes the images: wheels, a base where none can be pulled, and the build itself.

Run it with `make image` or `make controller-image`, or `python -m deploy.image --help`. Importing it needs Docker's
client for Python, and does nothing.
"""
