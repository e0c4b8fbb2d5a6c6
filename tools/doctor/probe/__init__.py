"""What looks at the machine, one subject a module; each gives the facts of the tree of that name."""
