"""The encoder ``tracks``: features of points over time that need no layout."""
