"""Addresses that are loaded when they are needed."""

from django.urls import URLResolver
from django.urls.resolvers import RoutePattern


def later(route: str, module: str, namespace: str) -> URLResolver:
    """`path(route, include(module))`, whose URLconf is loaded by the first request below `route`, the first `reverse`
    in the namespace, or `manage.py check`; any number may come at once."""
    return URLResolver(RoutePattern(route), module, app_name=namespace, namespace=namespace)
