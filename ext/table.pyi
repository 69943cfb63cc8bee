LAYOUT_VERSION: int
TABLE_ATTEMPTS_MAX: int

def compile_table(snapshot: object) -> int: ...
