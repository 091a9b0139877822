"""CouchDB: `connection` carries an HTTP exchange, `database` knows documents and errors, the ports stand on it.

Nothing outside this folder speaks HTTP to a database, and no exception of a library leaves it.
"""
