"""The steps of the method, one file a verb. Steps never import each other."""
