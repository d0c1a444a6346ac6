"""The pages: templates that draw themselves from the REST API and the event feed."""

from fastapi import FastAPI


def mount(app: FastAPI) -> None:
    """Add the pages to the application."""
