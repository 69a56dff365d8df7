"""Files that flags come from and go to: one module a format, `load` and (where we write it) `dump`.

`load(text)` gives `Contents`: documents in the form of `flag_document`, not checked yet; members unknown to a format
are left out, so that an import keeps them. A flag that cannot be held is left out as well, and is among the `problems`,
each of which names flag and place; `warn` reports what comes in otherwise than it stood there.
"""
