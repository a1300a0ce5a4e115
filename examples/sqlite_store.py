"""A store of your own: dormouse's session in an SQLite database, for a gateway on CPython.

    store = SQLiteStore("session.db")

Two methods make a medium: ``read``, all that is there, and ``write``, all changes or none.
"""

import sqlite3

from dormouse.store import Store, StoreFull


class SQLiteStore(Store):
    """A store in the database file ``path``; it survives power loss, as SQLite promises."""

    survives = 2

    def __init__(self, path: str) -> None:
        self.db = sqlite3.connect(path)
        self.db.execute("pragma synchronous = full")
        self.db.execute("create table if not exists dormouse (key integer primary key, value blob)")
        super().__init__()

    def read(self) -> dict:
        return {key: bytearray(v) for key, v in self.db.execute("select * from dormouse")}

    def write(self, changes: dict) -> None:
        gone = [(key,) for key, value in changes.items() if value is None]
        kept = [(key, value) for key, value in changes.items() if value is not None]
        try:
            with self.db:  # one transaction, rolled back if anything raises
                self.db.executemany("delete from dormouse where key = ?", gone)
                self.db.executemany("replace into dormouse values (?, ?)", kept)
        except sqlite3.Error as e:
            if getattr(e, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise StoreFull(str(e)) from e
            raise OSError(str(e)) from e
