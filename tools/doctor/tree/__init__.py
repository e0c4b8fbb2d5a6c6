"""The decision trees, one subject a module: facts in, findings out. Nothing here looks at the machine."""
