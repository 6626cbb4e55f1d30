"""One module a family: the names that an outside checker of exactness calls. They compute nothing themselves."""
