"""Mailbox providers: whose mail an instance carries."""

from django.db import models


class Provider(models.Model):
    """A mailbox provider: a row of the matrix. `therest` catches every domain no other one claims."""

    slug = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=80)
    position = models.PositiveSmallIntegerField(default=100, help_text="Order in the matrix, small first.")
    catch_all = models.BooleanField(default=False)

    class Meta:
        ordering = ["position", "slug"]
        constraints = [
            models.UniqueConstraint(
                fields=["catch_all"],
                condition=models.Q(catch_all=True),
                name="one_catch_all_provider",
            ),
        ]

    def __str__(self) -> str:
        return self.slug


class ProviderDomain(models.Model):
    """A recipient domain, lower-case A-label. It belongs to one provider."""

    domain = models.CharField(max_length=253, primary_key=True)
    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="domains")

    class Meta:
        ordering = ["domain"]

    def __str__(self) -> str:
        return self.domain


class ProviderMxSuffix(models.Model):
    """The end of an MX host name by which a provider's customers' own domains are told."""

    suffix = models.CharField(max_length=253, primary_key=True)
    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="mx_suffixes")

    class Meta:
        ordering = ["suffix"]

    def __str__(self) -> str:
        return self.suffix
