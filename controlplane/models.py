"""Who may do what: users, projects, members, API keys, the audit log, and remembered answers."""

from django.contrib.auth.models import AbstractUser
from django.db import models

from controlplane.ids import IdField


class Role(models.TextChoices):
    """What a member or key may do; each role includes the ones before it."""

    VIEWER = "viewer", "Viewer: sees everything but secrets"
    OPERATOR = "operator", "Operator: runs operations and writes data"
    ADMIN = "admin", "Admin: also manages members, keys and deletion"

    @property
    def rank(self) -> int:
        return list(Role).index(self)

    def includes(self, other: "Role | str") -> bool:
        """Whether this role may do what `other` may."""
        return self.rank >= Role(other).rank


class User(AbstractUser):
    """A person who signs in to the dashboard."""

    id = IdField("usr")
    theme = models.CharField(
        max_length=6, default="system", choices=[("system", "System"), ("light", "Light"), ("dark", "Dark")]
    )


class Project(models.Model):
    """What members, keys, targets and costs belong to."""

    id = IdField("prj")
    name = models.SlugField(max_length=63, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self):
        return self.name


class Membership(models.Model):
    """A user's role in a project."""

    id = IdField("mem")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    project = models.ForeignKey(Project, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=8, choices=Role)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "project"], name="membership_once"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="membership_role"),
        ]

    def __str__(self):
        return f"{self.user_id} {self.role} of {self.project_id}"


class ApiKey(models.Model):
    """A key of the REST API; only the SHA-256 digest of it is kept."""

    id = IdField("key")
    project = models.ForeignKey(Project, models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100)
    role = models.CharField(max_length=8, choices=Role)
    prefix = models.CharField(max_length=16, help_text="The first characters, to recognise it by.")
    digest = models.CharField(max_length=64, unique=True)
    created_by = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"], condition=models.Q(revoked_at=None), name="api_key_name_once"
            ),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="api_key_role"),
        ]

    def __str__(self):
        return f"{self.name} ({self.prefix}...)"


class AuditEntry(models.Model):
    """Who did what: append-only, each entry carrying the hash of the one before it."""

    sequence = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    project = models.ForeignKey(Project, models.PROTECT, null=True, related_name="+")
    actor = models.CharField(max_length=200, help_text="user:NAME, key:NAME or system")
    action = models.CharField(max_length=100, help_text="noun.verb, as target.create")
    subject = models.CharField(max_length=200, help_text="The id of what was acted on.")
    detail = models.JSONField(default=dict)
    request_id = models.CharField(max_length=64, blank=True)
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64, unique=True)

    class Meta:
        indexes = [
            models.Index(fields=["project", "-sequence"]),
            models.Index(fields=["subject", "-sequence"]),
        ]

    def __str__(self):
        return f"{self.sequence} {self.actor} {self.action} {self.subject}"


class RememberedAnswer(models.Model):
    """The answer to a POST that carried an Idempotency-Key, given again for the same key and body."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="+")
    actor = models.CharField(max_length=200)
    key = models.CharField(max_length=200)
    request_digest = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True, help_text="Null while the first call runs.")
    headers = models.JSONField(default=dict)
    body = models.BinaryField(default=bytes)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "actor", "key"], name="answer_once")]
        indexes = [models.Index(fields=["created_at"])]

    def __str__(self):
        return f"{self.actor} {self.key}"
