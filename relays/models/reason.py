"""Rules that an administrator added to the shipped ones, by which a reply is given its reason."""

from django.db import models


class ReasonRule(models.Model):
    """A rule of the administrator's own: tried before the shipped ones, smallest position first."""

    slug = models.SlugField(max_length=50, unique=True)
    position = models.PositiveSmallIntegerField(default=100)
    reason = models.CharField(max_length=40)
    # A regular expression over the reply, ignoring case; empty: any text.
    pattern = models.CharField(max_length=500, blank=True)
    # Provider slugs, reply codes (421, 5xx), enhanced codes (4.7.x), comma separated; empty: any.
    providers = models.CharField(max_length=200, blank=True)
    codes = models.CharField(max_length=100, blank=True)
    enhanced = models.CharField(max_length=100, blank=True)
    hard = models.BooleanField(null=True, help_text="Empty: as the reason says.")
    note = models.CharField(max_length=300, blank=True)
    enabled = models.BooleanField(default=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["position", "slug"]

    def __str__(self) -> str:
        return self.slug
