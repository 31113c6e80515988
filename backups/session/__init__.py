"""The engine's session process: one repository, many items.  ``python -m backups.session --spec-fd N``.

Wires engine, storage, sources and targets together, as the command line does; knows no Django and no database.
"""
