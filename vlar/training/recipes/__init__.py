"""How the methods are trained: one file a method, found through the registry."""
