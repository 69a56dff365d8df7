"""Files that flags come from and go to: one module a format, `load` and (where we write it) `dump`.

`load(text)` gives `Contents`: documents as `portable` knows them, not checked yet; members a format knows nothing about
are left out, so that an import keeps them. A flag that cannot be held is left out as well, and is among the `problems`,
each of which names flag and place; what comes in otherwise than it stood there is told by `warn`.
"""
