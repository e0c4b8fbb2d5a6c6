"""What is wrong with this machine, and what to type.

``probe`` looks (adapters: files, processes, sockets) and returns facts; ``tree`` decides (pure: facts in,
findings out); ``examination`` puts both together, subject by subject. A finding that is ``wrong`` always
carries a command or an edit.
"""
