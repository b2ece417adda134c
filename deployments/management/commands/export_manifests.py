"""`manage.py export_manifests`: a target's objects as a directory for Git."""

import shutil
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from controlplane.errors import ProblemError
from deployments.gitops import FORMATS, HEADER, KUSTOMIZE, Repository, target_export
from deployments.management.targets import add_arguments, target_named


class Command(BaseCommand):
    help = "Writes the Kubernetes objects of a target, without its secrets, as a directory for Git."

    def add_arguments(self, parser):
        add_arguments(parser)
        parser.add_argument("--format", choices=FORMATS, default=KUSTOMIZE)
        parser.add_argument("--out", required=True, help="a new or empty directory, or a former export")
        parser.add_argument("--repository", default=Repository.url, help="its URL, for Argo CD")
        parser.add_argument("--path", default="", help="of the directory in it; the target's name by default")
        parser.add_argument("--revision", default=Repository.revision, help="branch, tag or commit to follow")

    def handle(self, *, target, project, format, out, repository, path, revision, **_):
        found = target_named(target, project)
        try:
            files = target_export(found, format, Repository(repository, path, revision))
        except ProblemError as error:
            raise CommandError(error.detail) from None
        folder = Path(out)
        self._make_room(folder)
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        self.stdout.write(f"{len(files)} files in {folder}")

    def _make_room(self, folder: Path) -> None:
        """Objects of a former export go, since they may be there no more; nothing else is touched."""
        if not folder.exists() or not any(folder.iterdir()):
            return
        known = folder / "kustomization.yaml"
        if not known.is_file() or not known.read_text().startswith(HEADER):
            raise CommandError(f"{folder} is not empty and no former export; give another directory.")
        shutil.rmtree(folder / "objects", ignore_errors=True)
        (folder / "application.yaml").unlink(missing_ok=True)
