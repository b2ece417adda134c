"""What every page's template is given."""


def navigation(request) -> dict:
    return {}
