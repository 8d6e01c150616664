"""A recipe becomes steps, and steps become a run: the schema, the method, plans and the API."""
