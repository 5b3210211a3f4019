"""How do names and values stand in SQL where none can be bound? Quoted, for DuckDB and SQLite alike."""


def identifier(name: str) -> str:
    """Quote the name of a table or column.

    >>> print(identifier('the "best" items'))
    "the ""best"" items"
    """
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """Quote a value as text.

    >>> print(literal("O'Neil"))
    'O''Neil'
    """
    return "'" + str(value).replace("'", "''") + "'"
