"""The documents say what the code does."""

import re

from django.conf import settings

from controlplane.settings import env

OPERATIONS = settings.BASE_DIR / "docs" / "operations.md"


def documented() -> set[str]:
    return set(re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|", OPERATIONS.read_text(), re.MULTILINE))


def test_every_setting_is_documented():
    rows = [
        f"| `{setting.name}` | `{setting.default}` | {setting.doc} |"
        for setting in env.declared.values()
        if setting.name not in documented()
    ]
    assert not rows, "docs/operations.md lacks these rows:\n" + "\n".join(rows)


def test_no_setting_is_documented_that_is_not_read():
    assert documented() <= set(env.declared)


def test_the_readme_s_commands_exist():
    text = (settings.BASE_DIR / "README.md").read_text()
    for name in re.findall(r"\bscript/[a-z]+|\bbench/[a-z_]+", text):
        assert (settings.BASE_DIR / name).is_file(), name
    for name in re.findall(r"manage\.py ([a-z_]+)", text):
        assert list(settings.BASE_DIR.glob(f"*/management/commands/{name}.py")), name
