"""Names that a person may give a folder."""

# Names of folders that are patterns, commands or syntax elsewhere.
STRANGE_NAMES = [
    *("rec[12]", "rec [1]", "rec*", "rec?", "[!r]ec", "back\\slash", "a]b", "{split}", "{x,y}"),
    *(
        "-leading",
        "a,b",
        "a#b",
        "a@2",
        "%d",
        "$HOME",
        "~",
        "it's",
        '"',
        "a=b",
        "a:b",
        " ",
        "é",
        "e\u0301",
    ),
    *("train", "new\nline", "日本", "\u2028"),
]
