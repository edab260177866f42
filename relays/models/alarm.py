"""What the operators are mailed about: once, as long as it lasts."""

from django.db import models


class Alarm(models.Model):
    """Something that lasts and that nobody should have to find on a page. key: what, and of whom."""

    key = models.CharField(max_length=120, unique=True)
    since = models.DateTimeField()
    # When the operators were mailed; null as long as they are to be.
    told_at = models.DateTimeField(null=True)
    # Since when a worker does so.
    telling_since = models.DateTimeField(null=True)

    class Meta:
        ordering = ["since"]
        default_permissions = ()

    def __str__(self) -> str:
        return self.key
