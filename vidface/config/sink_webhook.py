"""The section of a webhook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from pipeline.events.webhook_options import RETRY_STATUSES, WebhookOptions
from pipeline.events.webhook_signature import WebhookSecret
from vidface.config.secrets import MASK, NOT_USED, mask_url
from vidface.config.section import NAME_PATTERN, FilePath, Section, misfit
from vidface.config.sink_parts import CONNECT_TIMEOUT_HELP, NAME_HELP, Retry, RetryConfig

_SECRETS = ("secret", "previous_secret")


class WebhookSinkConfig(Section):
    """A URL that each event is posted to, signed as Standard Webhooks."""

    type: Literal["webhook"] = Field(description="A URL that events are posted to.")
    name: str = Field(default="webhook", pattern=NAME_PATTERN, description=NAME_HELP)
    url: str = Field(
        min_length=1,
        description="Where to; https:// unless it is this machine. A credential belongs into bearer_token or headers: "
        "the url is shown.",
    )
    secret: SecretStr | None = Field(
        default=None,
        description='What requests are signed with, known to the receiver: "whsec_" and the base64 of 24 to 64 random '
        "bytes; write ${NAME}. Without it nobody can tell that a request is ours.",
    )
    previous_secret: SecretStr | None = Field(
        default=None, description="The secret before, which signs as well, until every receiver knows the new one."
    )
    bearer_token: SecretStr | None = Field(
        default=None, min_length=1, description="Sent as 'Authorization: Bearer'; write ${NAME}."
    )
    headers: dict[str, SecretStr] = Field(
        default={}, description="Sent with each request; the values are treated as secrets."
    )
    ca_file: FilePath | None = Field(
        default=None,
        description="Certificates that the receiver's is checked against (PEM); the system's unless given.",
    )
    connect_timeout_s: float = Field(default=5.0, gt=0, le=10, description=CONNECT_TIMEOUT_HELP)
    timeout_s: float = Field(
        default=10.0, gt=0, le=300, description="A request that is not answered for so long has failed. Seconds."
    )
    retry_statuses: tuple[Annotated[int, Field(ge=400, le=499)], ...] = Field(
        default=tuple(sorted(RETRY_STATUSES)),
        description="Answers of 400 to 499 after which the event is tried again; after any other of these it is "
        "refused for good and goes to the dead letters. By default those that are about us or about the moment, such "
        "as an expired token, and not about the event.",
    )
    retry: Retry = RetryConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        _fitting("url", lambda: WebhookOptions(url=self.url))
        _fitting("headers", lambda: WebhookOptions(url=self.url, headers=self._headers()))
        _fitting("bearer_token", lambda: WebhookOptions(url=self.url, bearer_token=self._token()))
        for field in _SECRETS:
            self._check_secret(field)
        if self.previous_secret is not None and self.secret is None:
            raise misfit(("previous_secret",), "has no use without secret")
        if self.bearer_token is not None and "authorization" in {name.lower() for name in self.headers}:
            raise misfit(("bearer_token",), "and a header authorization are two answers to one question")
        if self.ca_file is not None and not self.url.startswith("https:"):
            raise misfit(("ca_file",), "has no use with a url that is not https://")
        return self

    def _check_secret(self, field: str) -> None:
        secret: SecretStr | None = getattr(self, field)
        # What `config show` printed can be checked again, and who opens no sink needs no secret; neither can serve.
        if secret is not None and secret.get_secret_value() not in {MASK, NOT_USED}:
            _fitting(field, lambda: WebhookSecret.parse(secret.get_secret_value()))

    def options(self) -> WebhookOptions:
        """What the sink takes. Holds the credentials in the clear.

        Raises:
            ValueError: A secret is the mask of `config show`, or one that was said not to be used.
        """
        given = [secret for secret in (self.secret, self.previous_secret) if secret is not None]
        return WebhookOptions(
            url=self.url,
            secrets=tuple(WebhookSecret.parse(secret.get_secret_value()) for secret in given),
            headers=self._headers(),
            bearer_token=self._token(),
            ca_file=self.ca_file,
            connect_timeout_s=self.connect_timeout_s,
            timeout_s=self.timeout_s,
            retry_statuses=frozenset(self.retry_statuses),
        )

    def where(self) -> str:
        """Where events go, for people."""
        return mask_url(self.url)

    def _headers(self) -> dict[str, str]:
        return {name: value.get_secret_value() for name, value in self.headers.items()}

    def _token(self) -> str | None:
        return None if self.bearer_token is None else self.bearer_token.get_secret_value()


def _fitting(field: str, make: Callable[[], object]) -> None:
    try:
        make()
    except ValueError as error:  # its messages quote no credential
        raise misfit((field,), str(error)) from None
