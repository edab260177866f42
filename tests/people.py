"""People for tests: users with their roles, and their browsers."""

from django.contrib.auth.models import Group, User
from django.test import Client

PASSWORD = "correct horse battery"


def user_make(name: str, *roles: str) -> User:
    """Return a user who has these roles."""
    user = User.objects.create_user(name, password=PASSWORD)
    user.groups.set(Group.objects.filter(name__in=roles))
    return user


def browser_of(name: str, *roles: str) -> Client:
    """Return a browser in which a new user with these roles is logged in."""
    browser = Client()
    browser.force_login(user_make(name, *roles))
    return browser
