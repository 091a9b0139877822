"""What makes the action image: wheels, a base where none can be pulled, and the build itself.

Run it with `make image`, or `python -m deploy.image --help`. Importing it needs Docker's client for Python, and does
nothing.
"""
