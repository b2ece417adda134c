"""What every page is given."""


def navigation(request) -> dict:
    """Template context of the frame around every page."""
    return {}
