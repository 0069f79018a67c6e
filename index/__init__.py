"""Who is known: the gallery of people, where it is kept, and how a face is looked up in it.

SQLite is the truth; the search index is a copy in memory, built from it and following it. Each change raises
the gallery's version and is a row of a log, so that any number of processes can follow one file: an enrolment
made by one is matched by the others at their next `refresh`, and a removal is likewise forgotten.

Reading order:

    errors.py       what can go wrong, as one tree
    identity.py     a person as the gallery knows them, and the rules for names
    vectors.py      what a template or a probe must be: float32 rows of length one
    matches.py      what a search answers
    search.py       exact nearest people over a flat FAISS index; the only file that imports faiss
    fake.py         the same index in plain numpy, for tests and for checking the other
    database.py     one connection to the SQLite file: creation, pragmas, transactions, erasure, errors
    store.py        the rows: people, templates, the log of changes, the audit
    gallery.py      all of it together: open, enroll, search, refresh, rename, remove
    calibration.py  the score to ask for, so that strangers pass no more often than is wanted

This package imports nothing else of vidface.
"""
