"""Published methods and families, one folder each, with a README that states source and figures."""
