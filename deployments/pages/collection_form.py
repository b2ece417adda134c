"""The form of a new collection, and of an index: its choices, and the body of the call they make."""

METRICS = [
    ("cosine", "Cosine", "Angle between vectors. Right for most text embeddings."),
    ("l2", "Euclidean (L2)", "Distance between points."),
    ("ip", "Inner product", "For vectors of length 1, or where length carries meaning."),
    ("l1", "Manhattan (L1)", "Sum of the differences; outliers weigh less than in L2."),
    ("hamming", "Hamming", "Bit vectors: how many bits differ."),
    ("jaccard", "Jaccard", "Bit vectors: the share of set bits that two have not in common."),
]
INDEX_TYPES = [
    ("hnsw", "HNSW: fast, nearly exact"),
    ("ivfflat", "IVFFlat: quick to build, small"),
    ("flat", "None: exact, for small collections"),
]
PRECISIONS = [
    ("", "By dimension"),
    ("vector", "Full: 4 bytes a number"),
    ("halfvec", "Half: 2 bytes a number"),
    ("bit", "One bit a number, re-ranked"),
]
FIELD_TYPES = [
    ("keyword", "Keyword"),
    ("number", "Number"),
    ("boolean", "Boolean"),
    ("datetime", "Date and time"),
]
LANGUAGES = [
    ("", "None"),
    ("simple", "Any language, words as they are"),
    *(
        (name, name.capitalize())
        for name in (
            "arabic",
            "danish",
            "dutch",
            "english",
            "finnish",
            "french",
            "german",
            "greek",
            "hungarian",
            "indonesian",
            "italian",
            "norwegian",
            "portuguese",
            "romanian",
            "russian",
            "spanish",
            "swedish",
            "turkish",
        )
    ),
]
DEFAULTS = {
    "name": "",
    "dimension": "384",
    "metric": "cosine",
    "index": "hnsw",
    "precision": "",
    "m": "16",
    "ef_construction": "64",
    "lists": "",
    "language": "",
}
# The fields of each type of index.
OPTIONS = {"hnsw": ("m", "ef_construction"), "ivfflat": ("lists",), "flat": ()}


def choices() -> dict:
    return {
        "metrics": METRICS,
        "index_types": INDEX_TYPES,
        "precisions": PRECISIONS,
        "field_types": FIELD_TYPES,
        "languages": LANGUAGES,
    }


def given(parameters) -> dict:
    """What the form shows: what was sent, or the defaults."""
    value = {key: parameters.get(key, default).strip() for key, default in DEFAULTS.items()}
    value["auto"] = parameters.get("auto") == "on" if parameters else True
    value["fields"] = fields(parameters)
    return value


def fields(parameters) -> list[dict]:
    """The rows of declared fields; rows without a name are dropped."""
    if not hasattr(parameters, "getlist"):
        return []
    rows = zip(parameters.getlist("field_name"), parameters.getlist("field_type"), strict=False)
    return [{"name": name.strip(), "type": kind} for name, kind in rows if name.strip()]


def number(text: str):
    """A whole number, or the text itself, which the target refuses in its own words."""
    return int(text) if text.isascii() and text.isdigit() else text


def index_options(value: dict) -> dict:
    """The index part of a body; what is left empty is the target's to choose."""
    options: dict = {"type": value["index"]}
    for key in OPTIONS.get(value["index"], ()):
        if value[key]:
            options[key] = number(value[key])
    if value["precision"] and value["index"] != "flat":
        options["precision"] = value["precision"]
    return options


def body(value: dict) -> tuple[dict, dict]:
    """(the body of the call, {field: what is wrong}); the rest is checked by the target."""
    errors = {}
    made: dict = {"metric": value["metric"], "index": index_options(value), "name": value["name"]}
    if not value["name"]:
        errors["name"] = "Give it a name."
    made["dimension"] = number(value["dimension"])
    for key, label in (("dimension", "dimension"), ("m", "m"), ("ef_construction", "ef_construction")):
        wanted = key == "dimension" or key in made["index"]
        if wanted and not isinstance(number(value[key]), int):
            errors[key] = f"The {label} is a whole number."
    if "lists" in made["index"] and not isinstance(made["index"]["lists"], int):
        errors["lists"] = "The number of lists is a whole number."
    if not value["auto"]:
        made["auto_index"] = False
    if value["fields"]:
        made["fields"] = value["fields"]
    if value["language"]:
        made["text"] = {"language": value["language"]}
    return made, errors


def shown(errors: dict) -> dict:
    """The target's errors by the form's own fields: `index.m` at m, `fields[2].name` at the fields."""
    known = {*DEFAULTS, "fields", "form"}
    names = {"type": "index", "text": "language"}
    found: dict = {}
    for key, text in errors.items():
        head, last = key.partition("[")[0].partition(".")[0], key.rpartition(".")[2]
        name = head if head == "fields" else names.get(last, last)
        name = names.get(head, name) if head == "text" else name
        name = name if name in known else "form"
        found[name] = f"{found[name]} {text}" if name in found else text
    return found
