"""Files that flags come from and go to: one module a format, `load` and (where we write it) `dump`.

`load(text)` gives `Contents`: documents as `portable` knows them, not checked yet; members a format knows nothing about
are left out, so that an import keeps them. What a format cannot hold is an InvalidFlag that names flag and place.
"""
